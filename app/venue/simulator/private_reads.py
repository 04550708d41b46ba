"""What an account may read of itself: orders, trades, balances, its keys and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.venue.polymarket.domain import EXCHANGES
from app.venue.simulator.accounts import COLLATERAL, ApiKey
from app.venue.simulator.cursors import page
from app.venue.simulator.limits import TIERS
from app.venue.simulator.messages import Request, Response, answer, refuse
from app.venue.simulator.views import order_view, trade_view

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

_ORDER_ID: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_UNLIMITED: Final = str((1 << 256) - 1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A read, and who reads. ``arg``: what stands in the path's placeholder."""

    request: Request
    key: ApiKey
    arg: str = ""


def data_order(venue: Venue, asked: Asked) -> Response:
    """GET /data/order/{id}: null for what is not there or not one's own."""
    record = venue.exchange.orders.get(asked.arg)
    own = record is not None and record.order.account == asked.key.address
    return answer(order_view(record) if record is not None and own else None)


def single_order(venue: Venue, asked: Asked) -> Response:
    """GET /order/{id}, which says 404 instead."""
    if not _ORDER_ID.fullmatch(asked.arg):
        return refuse(400, "Invalid orderID")
    found = data_order(venue, asked)
    return refuse(404, "Order not found") if found.value is None else found


def data_orders(venue: Venue, asked: Asked) -> Response:
    """Open orders, newest last. By ``id`` an ended one is shown too (docs/venue.md 2.6)."""
    query, exchange = asked.request.query, venue.exchange
    wanted = query.get("id")
    if wanted is not None:
        record = exchange.orders.get(wanted)
        found = [record] if record is not None else []
        found = [one for one in found if one.order.account == asked.key.address]
    else:
        found = exchange.live_orders(asked.key.address)
    rows = [
        order_view(one)
        for one in found
        if query.get("market") in (None, one.condition_id)
        and query.get("asset_id") in (None, one.order.token_id)
    ]
    return _paged(rows, venue, asked)


def data_trades(venue: Venue, asked: Asked) -> Response:
    """One's own trades, newest first. ``before`` and ``after`` are of the match time, in seconds."""
    query, exchange, account = asked.request.query, venue.exchange, asked.key.address
    bounds = [query.get("after", ""), query.get("before", "")]
    if not all(one == "" or one.isdecimal() for one in bounds):
        return refuse(400, "Invalid trade params payload")
    rows: list[dict[str, Any]] = []
    for trade_id in reversed(exchange.trades_of[account]):
        record = exchange.trades[trade_id]
        market = exchange.markets[record.condition_id]
        row = trade_view(
            record,
            account,
            exchange.orders.__getitem__,
            market,
            prefix=venue.settings.trade_prefix,
        )
        if _wanted(row, asked.request, *bounds):
            rows.append(row)
    return _paged(rows, venue, asked)


def _wanted(row: dict[str, Any], request: Request, after: str, before: str) -> bool:
    query = request.query
    at = int(row["match_time"])
    addresses = {row["maker_address"], *(one["maker_address"] for one in row["maker_orders"])}
    tokens = {row["asset_id"], *(one["asset_id"] for one in row["maker_orders"])}
    return (
        query.get("id") in (None, row["id"])
        and query.get("market") in (None, row["market"])
        and (query.get("asset_id") is None or query["asset_id"] in tokens)
        and (query.get("maker_address") is None or query["maker_address"] in addresses)
        and (not after or at >= int(after))
        and (not before or at <= int(before))
    )


def _paged(rows: list[dict[str, Any]], venue: Venue, asked: Asked) -> Response:
    cursor = asked.request.query.get("next_cursor", "")
    found = page(rows, cursor, venue.settings.page_limit)
    return refuse(400, "Invalid next_cursor") if found is None else answer(found)


# --- money ----------------------------------------------------------------------------------------


def asset_asked(request: Request) -> str | None:
    """The asset that a balance request is about; None if it names none that there is."""
    kind = request.query.get("asset_type")
    if kind == COLLATERAL:
        return COLLATERAL
    token = request.query.get("token_id", "")
    return token if kind in ("CONDITIONAL", "CONDITIONAL-V2") and token else None


def wallet_asked(venue: Venue, asked: Asked) -> str:
    """The wallet of the signature type that is asked about."""
    kind = asked.request.query.get("signature_type", "0")
    account = venue.accounts.open(asked.key.address)
    wallet = account.wallet_of(int(kind)) if kind.isdecimal() else None
    return wallet or account.address


def balance_allowance(venue: Venue, asked: Asked) -> Response:
    """The venue's cache of one asset, in base units (docs/venue.md 10)."""
    asset = asset_asked(asked.request)
    if asset is None:
        return refuse(400, "Invalid asset type")
    held = venue.exchange.backing.balances.cache[wallet_asked(venue, asked), asset]
    exchanges = EXCHANGES[venue.settings.chain_id]
    spenders = (exchanges.standard, exchanges.neg_risk, exchanges.v3)
    allowances = {one.exchange: _UNLIMITED for one in spenders}
    return answer({"balance": str(held), "allowances": allowances})


# --- the account itself ---------------------------------------------------------------------------


def api_keys(venue: Venue, asked: Asked) -> Response:
    own = [k.key_id for k in venue.accounts.keys.values() if k.address == asked.key.address]
    return answer({"apiKeys": own})


def closed_only(venue: Venue, asked: Asked) -> Response:
    return answer({"closed_only": venue.accounts.open(asked.key.address).closed_only})


def rate_limit_tier(venue: Venue, asked: Asked) -> Response:
    name = venue.accounts.open(asked.key.address).tier
    tier = TIERS[name]
    return answer(
        {
            "tier": name,
            "orders_per_second": tier.orders,
            "order_burst": tier.order_burst,
            "cancels_per_second": tier.cancels,
            "cancel_burst": tier.cancel_burst,
        }
    )


def notifications(venue: Venue, asked: Asked) -> Response:
    return answer([])
