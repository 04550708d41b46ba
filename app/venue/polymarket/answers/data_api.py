"""What the Data API shows of trades, activity and (in its older version) positions of wallets: for people.

Nothing here is ever booked. The list is a cache of minutes, knows neither our orders' ids nor our part of a trade,
and repeats rows over pages (docs/venue.md 11). It serves to tell where tokens of a wallet came from.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.venue.interface import Found, Side, Unread
from app.venue.polymarket.answers.border import Fields, Unreadable, document
from app.venue.polymarket.wire import Exchange


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One row of ``/v2/trades``, or of the older ``/trades``."""

    wallet: str
    token_id: str
    condition_id: str
    side: Side
    size_micros: int
    price_micros: int
    at_ms: int
    transaction_hash: str


@dataclass(frozen=True, slots=True)
class Activity:
    """One row of ``/v2/activity``: a trade, or tokens that moved without one."""

    wallet: str
    kind: str
    """TRADE, SPLIT, MERGE, REDEEM, ...: as told."""
    token_id: str
    condition_id: str
    side: str
    """As told; empty where there is none."""
    size_micros: int
    collateral_micros: int
    at_ms: int
    transaction_hash: str


@dataclass(frozen=True, slots=True)
class OldPosition:
    """One row of the older ``/positions``."""

    wallet: str
    token_id: str
    condition_id: str
    size_micros: int
    redeemable: bool | None


def read_public_trades(exchange: Exchange) -> Found[tuple[PublicTrade, ...]] | Unread:
    """One page of trades, of either version."""
    try:
        return Found(tuple(_trade(row) for row in _rows(document(exchange))))
    except Unreadable as error:
        return Unread(str(error))


def read_activity(exchange: Exchange) -> Found[tuple[Activity, ...]] | Unread:
    """One page of ``/v2/activity``."""
    try:
        return Found(tuple(_activity(row) for row in _rows(document(exchange))))
    except Unreadable as error:
        return Unread(str(error))


def read_old_positions(exchange: Exchange) -> Found[tuple[OldPosition, ...]] | Unread:
    """The older ``/positions``."""
    try:
        return Found(tuple(_position(row) for row in _rows(document(exchange))))
    except Unreadable as error:
        return Unread(str(error))


def _rows(body: object) -> list[Fields]:
    """A page of the second version, or the bare list of the first."""
    rows = body if isinstance(body, list) else Fields(body, "page").rows("data")
    return [Fields(row, "row") for row in rows]


def _either(row: Fields, name: str, older: str) -> str:
    return row.text(name) if row.has(name) else row.text(older)


def _trade(row: Fields) -> PublicTrade:
    side = row.text("side")
    if side not in ("BUY", "SELL"):
        raise Unreadable(f"no side: {side:.20}")
    return PublicTrade(
        _either(row, "proxy_wallet", "proxyWallet").lower(),
        _either(row, "token_id", "asset"),
        _either(row, "condition_id", "conditionId"),
        Side(side),
        row.micros("size"),
        row.price_micros("price"),
        row.instant_ms("timestamp"),
        _either(row, "transaction_hash", "transactionHash"),
    )


def _activity(row: Fields) -> Activity:
    return Activity(
        row.text("proxy_wallet").lower(),
        row.text("type"),
        row.optional("token_id"),
        row.optional("condition_id"),
        row.optional("side"),
        row.micros("size"),
        row.micros("usdc_size"),
        row.instant_ms("timestamp"),
        row.text("transaction_hash"),
    )


def _position(row: Fields) -> OldPosition:
    return OldPosition(
        row.text("proxyWallet").lower(),
        row.text("asset"),
        row.text("conditionId"),
        row.micros("size"),
        row.flag("redeemable"),
    )
