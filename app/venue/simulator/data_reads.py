"""The Data API (positions and trades of wallets) and what clients ask of the relayer.

Served under ``/data-api`` and ``/relayer``. Positions are what is on the chain: CONFIRMED trades
and credits (docs/venue.md 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.money import MICROS, cost_micros
from app.venue.interface import Side
from app.venue.matching import BACKGROUND
from app.venue.simulator.accounts import COLLATERAL, spelled
from app.venue.simulator.cursors import decode_cursor, encode_cursor
from app.venue.simulator.markets import Market
from app.venue.simulator.messages import Request, Response, answer, number, refuse
from app.venue.simulator.views import best

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

_MOST: Final = 1000


@dataclass(slots=True)
class Entry:
    """What a wallet paid for its buys of a token."""

    shares: int = 0
    cost: int = 0
    fees: int = 0


def _user(request: Request) -> str | None:
    text = request.query.get("user", "")
    return spelled(text) if len(text) == 42 and text.startswith("0x") else None


def positions(venue: Venue, request: Request, arg: str) -> Response:
    user = _user(request)
    if user is None:
        return refuse(400, "user is required")
    conditions = request.lists.get("condition_id", ())
    rows = []
    for token, size in venue.exchange.backing.balances.assets_of(user).items():
        market = None if token == COLLATERAL else venue.exchange.market_of(token)
        if market is not None and size and (not conditions or market.condition_id in conditions):
            rows.append(_position(venue, user, token, size, market))
    return _paged(rows, request)


def _position(venue: Venue, user: str, token: str, size: int, market: Market) -> dict[str, Any]:
    entry = _entry(venue, user, token)
    average = entry.cost * MICROS // entry.shares if entry.shares else 0
    cost = average * size // MICROS
    price = _price(venue, token, market)
    value = price * size // MICROS
    index = market.tokens.index(token)
    gain = value - cost
    return {
        "proxy_wallet": user.lower(),
        "token_id": token,
        "condition_id": market.condition_id,
        "current_size": number(size),
        "avg_price": number(average),
        "entry_cost_usdc": number(cost),
        "entry_fees_usdc": number(entry.fees),
        "total_cost_usdc": number(cost + entry.fees),
        "current_price": number(price),
        "current_value": number(value),
        "total_size": number(entry.shares or size),
        "realized_pnl": 0,
        "unrealized_pnl": number(gain),
        "total_pnl": number(gain),
        "percent_pnl": number(gain * 100 * MICROS // cost) if cost else 0,
        "percent_realized_pnl": 0,
        "status": "OPEN",
        "redeemable": market.closed and market.winner == token,
        "mergeable": False,
        "negative_risk": market.neg_risk,
        "archived": False,
        "title": market.question,
        "slug": market.slug,
        "icon": "",
        "event_id": market.event_id,
        "event_slug": "",
        "outcome": market.outcomes[index],
        "outcome_index": index,
        "opposite_outcome": market.outcome_of(market.other(token)),
        "opposite_token_id": market.other(token),
        "end_date": market.end_date[:10],
        "last_event_at": venue.at_ms // 1000,
        "first_entry_at": venue.at_ms // 1000,
        "name": "",
        "profile_image": "",
        "verified": False,
    }


def _price(venue: Venue, token: str, market: Market) -> int:
    if market.winner:
        return MICROS if market.winner == token else 0
    bid, ask = best(venue.exchange.books[token])
    return (bid + ask) // 2 if bid is not None and ask is not None else MICROS // 2


def _entry(venue: Venue, user: str, token: str) -> Entry:
    entry = Entry()
    account = venue.accounts.owner_of_wallet.get(user, "")
    for trade_id in venue.exchange.trades_of.get(account, ()):
        trade = venue.exchange.trades[trade_id].trade
        if trade.token_id != token or trade.status != "CONFIRMED":
            continue
        for part in trade.parts:
            if part.account == account and part.side is Side.BUY:
                entry.shares += part.size_micros
                entry.cost += cost_micros(trade.price_micros, part.size_micros)
                entry.fees += part.fee_micros
    return entry


def trades(venue: Venue, request: Request, arg: str) -> Response:
    """Trades that are on the chain, newest first."""
    user = _user(request)
    conditions = request.lists.get("condition_id", ())
    rows = []
    for record in reversed(list(venue.exchange.trades.values())):
        if record.trade.status not in ("MINED", "CONFIRMED"):
            continue
        if conditions and record.condition_id not in conditions:
            continue
        market = venue.exchange.markets[record.condition_id]
        for part in record.trade.parts:
            if part.account == BACKGROUND:
                continue
            wallet = venue.exchange.orders[part.order_id].maker
            if user is None or wallet == user:
                rows.append(_trade(record.trade, part, wallet, market, record.transaction_hash))
    return _paged(rows, request)


def _trade(trade: Any, part: Any, wallet: str, market: Market, tx: str) -> dict[str, Any]:
    return {
        "proxy_wallet": wallet.lower(),
        "side": part.side.value,
        "token_id": trade.token_id,
        "condition_id": market.condition_id,
        "size": number(part.size_micros),
        "price": number(trade.price_micros),
        "timestamp": trade.matched_at_ms // 1000,
        "title": market.question,
        "slug": market.slug,
        "icon": "",
        "event_slug": "",
        "outcome": market.outcome_of(trade.token_id),
        "outcome_index": market.tokens.index(trade.token_id),
        "name": "",
        "pseudonym": "",
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
        "transaction_hash": tx,
    }


def _paged(rows: list[dict[str, Any]], request: Request) -> Response:
    text = request.query.get("limit", "100")
    limit = max(1, min(_MOST, int(text))) if text.isdecimal() else 100
    offset = decode_cursor(request.query.get("cursor", ""))
    if offset is None:
        return refuse(400, "invalid cursor")
    more = offset + limit < len(rows)
    following = encode_cursor(offset + limit) if more else None
    pagination = {"limit": limit, "offset": offset, "has_more": more, "next_cursor": following}
    return answer({"data": rows[offset : offset + limit], "pagination": pagination})


def deployed(venue: Venue, request: Request, arg: str) -> Response:
    """GET /deployed of the relayer: wallets of accounts that are open count as deployed."""
    address = request.query.get("address", "")
    known = len(address) == 42 and spelled(address) in venue.accounts.owner_of_wallet
    return answer({"address": address, "deployed": known})
