"""A ledger, workers on it, and the simulated venue as a process of its own behind real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import asyncpg
import pytest

from app.clock import SeededRng
from app.venue.polymarket.signing import Signer
from tests.support.database import TestDatabase
from tests.support.life import SHARE, call
from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.worker import Rig, WorkerProcess, until

SIGNER: Final = Signer.ephemeral(SeededRng(7).bits)
PRIVATE_KEY: Final = "0x" + format(SeededRng(7).bits(256), "064x")
API_KEY: Final = {
    "key_id": "11111111-2222-4333-8444-555555555555",
    "secret": "c2ltdWxhdG9yLXNlY3JldC1jYW5hcnk=",
    "passphrase": "simulator-passphrase-canary",
}
COLLATERAL: Final = 10_000


@dataclass
class PolymarketRig(Rig):
    """`Rig` with an account at the simulated Polymarket instead of the paper venue."""

    simulator: Simulator = field(default_factory=lambda: Simulator(Path()))
    market: Market = field(default_factory=lambda: Market("", "", ""))
    quarantine_ms: int = 1_500
    by_name: dict[str, Market] = field(default_factory=dict)

    async def open(self) -> None:
        """Account on both sides, a market on both sides, no burst limits."""
        self.simulator.account(
            SIGNER.address, collateral=str(COLLATERAL), key=API_KEY, tier="elite"
        )
        await call(
            self.owner,
            "open_account",
            *("main", "polymarket", None, None, 0, self.quarantine_ms),
        )
        await call(
            self.owner,
            "book_movement",
            *("main", "collateral", COLLATERAL * SHARE, "opening", "opening", "test"),
        )
        await self.no_burst_limits()
        self.market = await self.new_market("m1")

    async def new_market(self, slug: str, **terms: Any) -> Market:
        """A market that both sides know under ``slug``, outcomes Up (yes) and Down (no)."""
        market = self.simulator.market(**terms)
        outcomes = [
            {"index": index, "label": label, "token_id": one}
            for index, (label, one) in enumerate((("Up", market.yes), ("Down", market.no)))
        ]
        await self.markets(slug, condition_id=market.condition_id, outcomes=outcomes)
        self.by_name[slug] = market
        return market

    def request(self, market: str = "m1", cents: int = 5, shares: int = 5, **more: Any) -> Any:
        """By ids: a worker's refresher stores the slugs and labels that the venue shows."""
        asked = super().request(market, cents, shares, **more)
        if known := self.by_name.get(market):
            tokens = {"Up": known.yes, "Down": known.no}
            outcome = tokens.get(asked["outcome"], asked["outcome"])
            asked |= {"market": known.condition_id, "outcome": outcome}
        return asked

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of a worker on this venue."""
        venue = {
            name.removeprefix("LEDGER_").lower(): value
            for name, value in self.simulator.environment().items()
        }
        if self.simulator.tls:
            venue["polymarket_clob_url"] = self.simulator.tls_url
            venue["polymarket_ca_file"] = self.simulator.ca_path
        return (
            venue
            | {
                "venue": "polymarket",
                "private_key": PRIVATE_KEY,
                "api_key": API_KEY["key_id"],
                "api_secret": API_KEY["secret"],
                "api_passphrase": API_KEY["passphrase"],
                "polymarket_site_url": self.simulator.url,
                "quarantine_ms": 1_500,
                "request_timeout_ms": 1_000,
            }
            | more
        )

    def start(self, **settings: Any) -> WorkerProcess:
        return super().start(**self.settings(**settings))

    @asynccontextmanager
    async def inside(self, **settings: Any) -> AsyncIterator[Any]:
        chosen = self.settings(**settings)
        # The keys are read from the environment anew, as they are in a worker of its own.
        secret = ("private_key", "api_key", "api_secret", "api_passphrase")
        with patch.dict(os.environ, {f"LEDGER_{name.upper()}": chosen[name] for name in secret}):
            async with super().inside(**chosen) as context:
                yield context

    async def trading(self, within_s: float = 60.0) -> None:
        """A worker is ready, and nothing of the venue's condition is in the way."""
        await self.until(
            "SELECT EXISTS (SELECT FROM ledger.worker WHERE ready) AND "
            "ledger._gate((SELECT account_id FROM ledger.account WHERE name = 'main'), false) IS NULL",
            within_s=within_s,
        )

    async def venue_orders(self, order_id: int) -> list[dict[str, Any]]:
        """What the simulator's own book holds of an intent, by the salt it was given."""
        salt = await self.owner.fetchval(
            "SELECT salt::text FROM ledger.orders WHERE order_id = $1", order_id
        )
        return [
            one for one in self.simulator.see("orders") if f'"salt":{salt},' in str(one["body"])
        ]

    async def until_settled(self, within_s: float = 60.0) -> None:
        """Nothing is on its way: no fate open, no cancel due, nothing unbooked."""
        await self.until(
            "SELECT NOT EXISTS (SELECT FROM ledger.orders WHERE state IN "
            "('RESERVED', 'PREPARED', 'SENDING', 'HELD_BACK', 'UNKNOWN', 'DELAYED'))"
            " AND NOT EXISTS (SELECT FROM ledger.cancel_request WHERE status = 'due')"
            " AND NOT EXISTS (SELECT FROM ledger.reservation WHERE phase = 'settling')"
            " AND NOT EXISTS (SELECT FROM ledger.fill WHERE settlement = 'provisional')"
            " AND NOT EXISTS (SELECT FROM ledger.venue_event WHERE applied_at IS NULL AND problem IS NULL)"
            " AND NOT EXISTS (SELECT FROM ledger.attempt WHERE outcome = 'open')",
            within_s=within_s,
        )

    # --- what happened --------------------------------------------------------------------------

    async def book(self, order_id: int) -> dict[str, Any]:
        """The one order that the venue holds of an intent."""
        [found] = await self.venue_orders(order_id)
        return found

    async def arrivals(self, order_id: int) -> dict[str, int]:
        """How often the venue's engine received the intent's one hash, and what it made of it."""
        venue_order_id = (await self.order(order_id))["venue_order_id"]
        found: dict[str, int] = self.simulator.see("arrivals").get(venue_order_id, {})
        return {
            what: found.get(what, 0) for what in ("received", "accepted", "duplicated", "refused")
        }

    async def attempts(self, order_id: int) -> list[tuple[str, str]]:
        """Outcome and code of each attempt, in order."""
        rows = await self.owner.fetch(
            "SELECT outcome, code FROM ledger.attempt WHERE order_id = $1 ORDER BY attempt",
            order_id,
        )
        return [(row["outcome"], row["code"]) for row in rows]

    async def until_struck(self, number: int, times: int = 1, within_s: float = 20.0) -> None:
        """An ordered fault has struck that often."""

        def struck() -> bool:
            rows = {one["number"]: one for one in self.simulator.see("faults")}
            return bool(rows[number]["struck"] >= times)

        await until(struck, f"fault {number} struck {times} times", within_s=within_s)

    async def until_venue(self, order_id: int, status: str, within_s: float = 20.0) -> None:
        """The venue's own book shows the intent's order in that status."""

        async def there() -> bool:
            return any(one["status"] == status for one in await self.venue_orders(order_id))

        await until(there, f"order {order_id} is {status} at the venue", within_s=within_s)

    def no_stream(self) -> int:
        """From now on the stream tells nothing of orders, while its pings are answered."""
        return self.simulator.fault("frames_lost", times=0)

    async def check_against_venue(self) -> None:
        """By the venue's own book: one order per intent at most, one hash per intent ever, the same sizes,
        states and money on both sides, and no cap passed at any time.
        """
        wrong = await self.owner.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
        assert wrong == [], "\n".join(map(str, wrong))
        assert await self.owner.fetch("SELECT * FROM audit.cap_breaches") == []
        assert await self.owner.fetch("SELECT * FROM audit.double_counted") == []
        rows = {
            row["venue_order_id"]: row
            for row in await self.owner.fetch(
                "SELECT * FROM ledger.orders WHERE venue_order_id IS NOT NULL"
            )
        }
        salts = [row["salt"] for row in rows.values()]
        assert len(set(salts)) == len(salts)
        arrived = self.simulator.see("arrivals")
        assert set(arrived) <= set(rows), "bytes arrived that no intent explains"
        assert all(one.get("accepted", 0) <= 1 for one in arrived.values()), arrived
        assert all(one.get("bodies", 1) == 1 for one in arrived.values()), (
            "other bytes of one order"
        )
        traded: dict[str, int] = {}
        for part in self.simulator.see("trades"):
            if part["status"] != "FAILED" and part["order_id"] in rows:
                traded[part["order_id"]] = traded.get(part["order_id"], 0) + _micros(part["size"])
        for one in self.simulator.see("orders"):
            row = rows.get(one["id"])
            assert row is not None, f"the venue holds an order that no intent explains: {one}"
            if one["status"] != "INVALID":
                _same_order(one, dict(row), traded.get(one["id"], 0))
        await self._check_money()

    async def _check_money(self) -> None:
        """What the wallet holds on the chain is what the ledger says, once everything is settled."""
        unsettled = await self.owner.fetchval(
            "SELECT EXISTS (SELECT FROM ledger.fill WHERE settlement = 'provisional')"
        )
        if unsettled:
            return
        wallets = {name.lower(): held for name, held in self.simulator.see("balances").items()}
        held = wallets[SIGNER.address.lower()]
        rows = await self.owner.fetch(
            "SELECT asset, available + locked AS total FROM ledger.balance"
        )
        ours = {row["asset"].lower(): row["total"] for row in rows if row["total"]}
        theirs = {asset.lower(): _micros(size) for asset, size in held.items() if _micros(size)}
        assert ours == theirs


@asynccontextmanager
async def polymarket_rig(
    database: TestDatabase,
    folder: Path,
    *,
    tls: bool = False,
    quarantine_ms: int = 1_500,
    **settings: int | bool,
) -> AsyncIterator[PolymarketRig]:
    """Everything up, one worker still to be started."""
    with running_simulator(folder, tls=tls, **settings) as simulator:
        owner = await asyncpg.create_pool(database.url, min_size=1, max_size=4)
        rig = PolymarketRig(database, owner, None, folder, simulator=simulator)  # type: ignore[arg-type]
        rig.quarantine_ms = quarantine_ms
        try:
            await rig.open()
            yield rig
        finally:
            rig.end()
            await asyncio.wait_for(owner.close(), 10)


def _micros(size: Any) -> int:
    return round(float(size) * SHARE)


def _same_order(theirs: dict[str, Any], ours: dict[str, Any], traded: int) -> None:
    both = (theirs, ours)
    assert ours["traded_micros"] - ours["failed_micros"] == traded, both
    assert ours["size_micros"] == _micros(theirs["original_size"]), both
    assert ours["price_micros"] == _micros(theirs["price"]), both
    assert (ours["token_id"], ours["side"]) == (theirs["asset_id"], theirs["side"]), both
    if ours["state"] not in ("SENDING", "UNKNOWN", "DELAYED"):
        # Both rest, or both are over: an order that lives while we think it dead is the worst of all.
        assert (theirs["status"] == "LIVE") == (ours["state"] == "LIVE"), both


@pytest.fixture(name="pm")
async def pm_fixture(database: TestDatabase, tmp_path: Path) -> AsyncIterator[PolymarketRig]:
    async with polymarket_rig(database, tmp_path) as rig:
        yield rig
