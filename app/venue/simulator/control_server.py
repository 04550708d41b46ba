"""The control endpoint: JSON over HTTP on a port of its own, for scripts and auditors.

``POST /control/<deed>`` carries out a deed of `control`; ``GET`` shows the venue's own book, which is
what audits hold the ledger against.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from app.errors import LedgerError
from app.money import format_micros
from app.venue.matching import BACKGROUND
from app.venue.simulator.accounts import spelled
from app.venue.simulator.control import DEEDS, describe
from app.venue.simulator.faults import CATALOGUE
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.messages import Request, Response, answer, refuse
from app.venue.simulator.service import Service
from app.venue.simulator.views import order_view


class Control:
    """Answers on the control port. ``stop`` ends the process."""

    def __init__(self, service: Service, stop: Callable[[], None]) -> None:
        self._service = service
        self._stop = stop

    async def handle(self, request: Request) -> Delivery:
        name = request.path.removeprefix("/control/")
        if request.method == "POST" and name == "stop":
            self._stop()
            return Delivery(answer({"stopping": True}))
        if request.method == "POST" and name in DEEDS:
            return Delivery(await self._deed(name, request.body))
        shown = VIEWS.get(name) if request.method == "GET" else None
        if shown is None:
            deeds, views = ", ".join(DEEDS), ", ".join(VIEWS)
            return Delivery(refuse(404, f"POST /control/ has {deeds}, stop; GET has {views}"))
        self._service.catch_up()
        await self._service.settled()
        try:
            return Delivery(answer(shown(self._service, request)))
        except LedgerError as error:
            return Delivery(refuse(400, str(error)))

    async def _deed(self, name: str, body: bytes) -> Response:
        try:
            args = json.loads(body or b"{}")
            if not isinstance(args, dict):
                raise TypeError("not an object")
        except (ValueError, TypeError) as error:
            return refuse(400, f"the body is no JSON object ({error})")
        try:
            done = self._service.submit({"t": "control", "do": name, "args": args})
        except LedgerError as error:
            return refuse(400, str(error))
        finally:
            await self._service.settled()
        return answer(done)


# --- what auditors read ---------------------------------------------------------------------------


def _account(request: Request) -> str:
    address = request.query.get("account", "")
    return spelled(address) if address else ""


def _state(service: Service, request: Request) -> dict[str, Any]:
    venue = service.venue
    return {
        "at_ms": service.now_ms(),
        "manual": venue.manual,
        "mode": venue.modes.mode.value,
        "until_ms": venue.modes.until_ms,
        "starts": venue.starts,
        "commands": venue.commands,
        "requests": service.requests,
        "orders": len(venue.exchange.orders),
        "trades": len(venue.exchange.trades),
        "markets": len(venue.exchange.markets),
        "accounts": len(venue.accounts.by_address),
        "listeners": {
            channel: sum(one.channel == channel for one in service.hub.listeners)
            for channel in ("user", "market")
        },
        "late": len(venue.late),
        "settings": venue.settings.to_json(),
    }


def _orders(service: Service, request: Request) -> list[dict[str, Any]]:
    """Every order that the engine ever took, with the exact body it came in."""
    account, venue = _account(request), service.venue
    rows = []
    for record in venue.exchange.orders.values():
        if account in ("", record.order.account):
            own = {"account": record.order.account, "body": record.body}
            arrivals = _counts(service, record.order.order_id)
            history = [[at, status, format_micros(m)] for at, status, m in record.history]
            rows.append({**order_view(record), **own, "arrivals": arrivals, "history": history})
    return rows


def _trades(service: Service, request: Request) -> list[dict[str, Any]]:
    """Every part that an account's order has in a trade: (trade, order) once each."""
    account, exchange = _account(request), service.venue.exchange
    rows = []
    for record in exchange.trades.values():
        trade = record.trade
        for part in trade.parts:
            if part.account == BACKGROUND or account not in ("", part.account):
                continue
            rows.append(
                {
                    "trade_id": trade.trade_id,
                    "order_id": part.order_id,
                    "account": part.account,
                    "token_id": trade.token_id,
                    "side": part.side.value,
                    "price": format_micros(trade.price_micros),
                    "size": format_micros(part.size_micros),
                    "fee": format_micros(part.fee_micros),
                    "maker": part.is_maker,
                    "status": trade.status.value,
                    "matched_at_ms": trade.matched_at_ms,
                    "updated_ms": record.updated_ms,
                }
            )
    return rows


def _arrivals(service: Service, request: Request) -> dict[str, dict[str, int]]:
    """Per order id: how often it was received, accepted, refused, refused as a duplicate; and in how
    many different texts.
    """
    return {order_id: _counts(service, order_id) for order_id in service.venue.arrivals}


def _counts(service: Service, order_id: str) -> dict[str, int]:
    venue = service.venue
    return {**venue.arrivals[order_id], "bodies": len(venue.bodies[order_id])}


def _markets(service: Service, request: Request) -> list[dict[str, Any]]:
    return [describe(one) for one in service.venue.exchange.markets.values()]


def _balances(service: Service, request: Request) -> dict[str, dict[str, str]]:
    """What each wallet owns on the chain."""
    shown: dict[str, dict[str, str]] = {}
    for (wallet, asset), micros in sorted(service.venue.exchange.backing.balances.chain.items()):
        shown.setdefault(wallet, {})[asset] = format_micros(micros)
    return shown


def _faults(service: Service, request: Request) -> list[dict[str, Any]]:
    return [
        {
            "number": rule.number,
            "name": rule.name,
            "endpoint": rule.endpoint,
            "seen": rule.seen,
            "struck": rule.struck,
            "times": rule.times,
            "params": rule.params,
        }
        for rule in service.venue.faults.rules.values()
    ]


def _catalogue(service: Service, request: Request) -> dict[str, dict[str, Any]]:
    return {
        name: {"stage": kind.stage.value, "says": kind.says, "params": dict(kind.params)}
        for name, kind in CATALOGUE.items()
    }


VIEWS: Final[dict[str, Callable[[Service, Request], Any]]] = {
    "state": _state,
    "orders": _orders,
    "trades": _trades,
    "arrivals": _arrivals,
    "markets": _markets,
    "balances": _balances,
    "faults": _faults,
    "catalogue": _catalogue,
}
