"""The demo on the simulated Polymarket: a process of its own behind real sockets, with all its faults.

It is started like a worker and ends with the demo. What the judgement is told of it comes from its own
book, over its control port; nothing of that touches the ledger.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from app.clock import Rng
from app.ledger.calls import LedgerCalls
from app.money import format_micros, parse_micros
from app.venue.interface import Side
from app.venue.matching.books import made_up_book
from app.venue.paper import PaperOrder
from app.venue.polymarket.signing import Signer
from app.venue.simulator.messages import number
from workers.demo.exposure import VenueMoment
from workers.demo.facts import Trade
from workers.demo.losses import DUST_MICROS
from workers.demo.mixture import SHUT_IN, by_chance, of_round
from workers.demo.processes import Child, Processes
from workers.demo.script import ROUNDS, Ground
from workers.demo.stage import MAIN, SETTLE_MS, DemoMarket, Stage
from workers.demo.venues import Patience, VenueFacts, statement

READY_WITHIN_S: Final = 30.0
TAPE_EVERY_MS: Final = 1_000
AT_REST_MS: Final = 3_600_000
_FINAL: Final = ("CONFIRMED", "FAILED")
_ADDRESSES: Final = ("clob_url", "gamma_url", "data_url", "user_ws_url", "market_ws_url")


def guarded(seed: int) -> bool:
    """Every other seed: HTTP/2 over TLS, and a heartbeat that cancels everything if it stops."""
    return seed % 2 == 1


class Simulated:
    """A `DemoVenue`."""

    patience: Final = Patience(dies=8.0, settles=75.0)
    reconciliations: Final = 2
    """What faults hid from the stream, the first may be the one to find; the second must be clean."""

    def __init__(self, stage: Stage, child: Child, ready: Mapping[str, Any], rng: Rng) -> None:
        self._stage = stage
        self._child = child
        self._ready = ready
        self._rng = rng
        self._secret = 1 + rng.bits(248)
        """The key of an account that exists for this demo alone."""
        self._key: dict[str, str] = {}
        self._struck: dict[str, int] = {}
        # It speaks plain HTTP on loopback: reading the system's certificates would be for nothing.
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.AsyncClient(
            base_url=str(ready["control_url"]), timeout=30, verify=plain, trust_env=False
        )

    @classmethod
    async def open(cls, stage: Stage, processes: Processes, folder: Path, rng: Rng) -> Simulated:
        """Start the process, and open the account that the workers will hold the key of."""
        arguments = ["--data", str(folder / "venue"), "--port", "0", "--control-port", "0"]
        for name, value in _settings(stage.seed).items():
            arguments += ["--set", f"{name}={value}"]
        if guarded(stage.seed):
            arguments += ["--tls-port", "0"]
        child = await processes.start(
            "simulator", "workers.cli", "simulator", *arguments, env={}, talks=True
        )
        assert child.process.stdout is not None
        line = await asyncio.wait_for(child.process.stdout.readline(), READY_WITHIN_S)
        venue = cls(stage, child, json.loads(line), rng)
        told = await venue._do(
            "account",
            address=venue._address,
            collateral=stage.collateral,
            tier="elite",
            make_key=True,
        )
        venue._key = told["key"]
        return venue

    async def aclose(self) -> None:
        await self._http.aclose()

    @property
    def _address(self) -> str:
        return Signer.ephemeral(lambda _: self._secret).address

    async def worker_env(self) -> dict[str, str]:
        ready, key = dict(self._ready), self._key
        more: dict[str, str] = {}
        if guarded(self._stage.seed):
            ready |= {name: ready[f"tls_{name}"] for name in _ADDRESSES}
            more = {"LEDGER_POLYMARKET_CA_FILE": ready["ca_path"], "LEDGER_HEARTBEAT": "1"}
        return (
            self._stage.worker_env()
            | more
            | {
                "LEDGER_VENUE": "polymarket",
                "LEDGER_PRIVATE_KEY": f"0x{self._secret:064x}",
                "LEDGER_API_KEY": key["key_id"],
                "LEDGER_API_SECRET": key["secret"],
                "LEDGER_API_PASSPHRASE": key["passphrase"],
                "LEDGER_POLYMARKET_CLOB_URL": ready["clob_url"],
                "LEDGER_POLYMARKET_WS_URL": ready["user_ws_url"],
                "LEDGER_POLYMARKET_MARKET_WS_URL": ready["market_ws_url"],
                "LEDGER_POLYMARKET_GAMMA_URL": ready["gamma_url"],
                "LEDGER_POLYMARKET_DATA_URL": ready["data_url"],
                "LEDGER_POLYMARKET_SITE_URL": ready["clob_url"],
            }
        )

    # --- markets ------------------------------------------------------------------------------------

    async def grounds(self) -> list[Ground]:
        await self._do("markets", gamma=[gamma_object(one) for one in self._stage.cast.markets])
        return [await self._ground(market) for market in self._stage.cast.markets]

    async def _ground(self, market: DemoMarket) -> Ground:
        bids, asks = [], []
        for token in market.tokens:
            levels = made_up_book(self._stage.seed, token, market.tick_micros)
            sides = {
                side: [
                    [format_micros(one.base_price_micros), format_micros(one.size_micros)]
                    for one in levels
                    if one.side is side
                ]
                for side in (Side.BUY, Side.SELL)
            }
            await self._do("book", token_id=token, bids=sides[Side.BUY], asks=sides[Side.SELL])
            prices = {
                side: [one.base_price_micros for one in levels if one.side is side]
                for side in (Side.BUY, Side.SELL)
            }
            bids.append(max(prices[Side.BUY], default=400_000))
            asks.append(min(prices[Side.SELL], default=600_000))
        return Ground(market, (bids[0], bids[1]), (asks[0], asks[1]))

    # --- misbehaviour -------------------------------------------------------------------------------

    async def misbehave(self, number: int) -> None:
        if number == SHUT_IN + 1:
            await self._let_in()
        rules = by_chance() if number == 0 else []
        rules += of_round(number, ROUNDS - 1, self._rng)
        if rules:
            await self._do("fault", faults=rules)

    async def _let_in(self) -> None:
        """What a person would have done about it. The workers see it by themselves."""
        await self._do("account", address=self._address, closed_only=False)
        await self._do("geoblock", blocked=False)

    async def behave(self) -> None:
        for rule in await self._see("faults"):
            self._struck[rule["name"]] = self._struck.get(rule["name"], 0) + rule["struck"]
        await self._do("no_fault")
        # The workers are about to stop, which is what a heartbeat cancels for; the judgement wants a book at rest.
        await self._do("settings", heartbeat_ms=AT_REST_MS)

    async def let_time_pass(self) -> None:
        """Its process does that by itself."""

    # --- its own book -------------------------------------------------------------------------------

    async def unsettled(self, ledger: LedgerCalls) -> Sequence[tuple[str, int]]:
        state, orders, trades = [await self._see(name) for name in ("state", "orders", "trades")]
        rows = await ledger.rows(statement("orders"))
        fills = await ledger.rows(statement("fills"))
        ours = {row["venue_order_id"] for row in rows if row["state"] == "LIVE"}
        theirs = {one["id"] for one in orders if one["status"] in ("LIVE", "DELAYED")}
        booked = {(one["trade_id"], one["venue_order_id"]): one["settlement"] for one in fills}
        return (
            ("requests under way", state["late"]),
            ("trades settling", sum(one["status"] not in _FINAL for one in trades)),
            ("orders seen differently", len(ours ^ theirs)),
            (
                "fills seen differently",
                sum(
                    (booked.get((one["trade_id"], one["order_id"])) or "none").upper()
                    != one["status"]
                    for one in trades
                ),
            ),
        )

    async def facts(self, ledger: LedgerCalls) -> VenueFacts:
        """Called once everything has settled; the process must still run."""
        orders, trades = await self._see("orders"), await self._see("trades")
        arrivals = await self._see("arrivals")
        return VenueFacts(
            book=tuple(order_of(one) for one in orders),
            trades=tuple(
                Trade(
                    one["trade_id"],
                    one["order_id"],
                    _micros(one["size"]),
                    _micros(one["price"]),
                    one["status"].lower(),
                )
                for one in trades
            ),
            moments=moments_of(orders, trades),
            arrivals={
                order_id: ", ".join(f"{name} {count}" for name, count in counts.items() if count)
                for order_id, counts in arrivals.items()
            },
            faults={name: count for name, count in sorted(self._struck.items()) if count},
        )

    # --- its control port ---------------------------------------------------------------------------

    async def _do(self, deed: str, **arguments: Any) -> Any:
        answer = await self._http.post(f"/{deed}", json=arguments)
        assert answer.status_code == 200, f"{deed}: {answer.text[:500]}"
        return answer.json()

    async def _see(self, view: str) -> Any:
        answer = await self._http.get(f"/{view}")
        assert answer.status_code == 200, f"{view}: {answer.text[:500]}"
        return answer.json()


def _settings(seed: int) -> dict[str, int]:
    """Rate limits stay on: the tier of the account is wide enough."""
    return {
        "seed": seed,
        "mine_after_ms": SETTLE_MS // 2,
        "confirm_after_ms": SETTLE_MS // 2,
        "tape_every_ms": TAPE_EVERY_MS,
        "post_only_ms": 0,
    }


def gamma_object(market: DemoMarket) -> dict[str, Any]:
    """The market as the venue's metadata show it, on the terms of the demo: a worker reads it again."""
    record = market.record
    rate = record.fee_rate_micros or 0
    event = {
        "id": record.event_id,
        "slug": record.event_slug,
        "title": record.event_title,
        "negRisk": bool(record.neg_risk),
        "enableNegRisk": bool(record.neg_risk),
        "negRiskAugmented": record.neg_risk_augmented,
        "enableOrderBook": True,
        "active": True,
        "closed": False,
        "archived": False,
    }
    return {
        "id": str(int(market.condition_id[2:12], 16)),
        "conditionId": market.condition_id,
        "questionID": record.question_id,
        "slug": record.slug,
        "question": record.question,
        "outcomes": json.dumps([one.label for one in record.outcomes]),
        "clobTokenIds": json.dumps(list(market.tokens)),
        "orderPriceMinTickSize": number(market.tick_micros),
        "orderMinSize": number(market.min_size_micros),
        "negRisk": bool(record.neg_risk),
        "feesEnabled": rate > 0,
        "feeSchedule": {
            "rate": number(rate),
            "exponent": record.fee_exponent,
            "takerOnly": record.fee_taker_only,
        },
        "secondsDelay": record.seconds_delay,
        "eventStartTime": _instant(record.window_start_ms),
        "endDate": _instant(record.window_end_ms),
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "archived": False,
        "version": "v1",
        "events": [event],
    }


def _instant(at_ms: int | None) -> str | None:
    """As the venue writes instants."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def order_of(one: Mapping[str, Any]) -> PaperOrder:
    """One row of the view ``orders``, in the form in which the judgement knows orders."""
    body = str(one["body"])
    signed = json.loads(body)["order"]
    size, matched = _micros(one["original_size"]), _micros(one["size_matched"])
    return PaperOrder(
        venue_order_id=one["id"],
        account=MAIN,
        token_id=one["asset_id"],
        condition_id=one["market"],
        side=Side(one["side"]),
        price_micros=_micros(one["price"]),
        size_micros=size,
        matched_micros=matched,
        order_type=one["order_type"],
        status=_status(one["status"], one["order_type"], size - matched),
        salt=str(signed["salt"]),
        timestamp_ms=int(signed["timestamp"]),
        times_received=one["arrivals"]["received"],
        received_at_ms=one["history"][0][0],
        body=body.encode(),
    )


def _status(raw: str, order_type: str, left_micros: int) -> str:
    """The venue's many words for cancelled are one; and it calls a FAK that filled in part matched."""
    if raw == "MATCHED" and order_type == "FAK" and left_micros >= DUST_MICROS:
        return "CANCELED"
    if raw.startswith("CANCELED") and raw != "CANCELED_EXPIRED_ORDER":
        return "CANCELED"
    return "LIVE" if raw == "DELAYED" else raw


def moments_of(
    orders: Sequence[Mapping[str, Any]], trades: Sequence[Mapping[str, Any]]
) -> tuple[VenueMoment, ...]:
    """Everything that happened, in order; of one moment in the order in which the venue lists it."""
    moments = []
    for one in orders:
        place = (MAIN, one["id"], one["asset_id"], one["side"])
        size = _micros(one["original_size"])
        for at_ms, raw, matched in one["history"]:
            status = "LIVE" if raw == "DELAYED" else raw
            moments.append(VenueMoment(at_ms, *place, status, size, _micros(matched)))
    moments += [
        VenueMoment(
            one["updated_ms"],
            MAIN,
            one["order_id"],
            one["token_id"],
            one["side"],
            one["status"],
            _micros(one["size"]),
            0,
            one["trade_id"],
        )
        for one in trades
        if one["status"] in _FINAL
    ]
    return tuple(sorted(moments, key=lambda moment: moment.at_ms))


def _micros(text: object) -> int:
    return parse_micros(str(text), what="a number of the venue")
