"""The bodies of the reads, as values or as a reason why nothing may be concluded (docs/venue.md 5, 9, 11).

Three-valued like the venue interface: `Found`, `Absent` where one thing was asked for and the venue says
cleanly that there is none, `Unread` for everything else. A page is read whole or not at all: one row that
cannot be read, or a page that does not say how it goes on, makes it unread (lessons 15 and 16).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app.venue.interface import Absent, Found, Unread
from app.venue.polymarket.answers.border import (
    NOT_TOLD,
    Fields,
    Unreadable,
    body_text,
    document,
    instant_ms,
    kept,
    parse,
    plain,
    raw_of,
)
from app.venue.polymarket.answers.outcomes import said_by
from app.venue.polymarket.answers.rows import (
    OrderRow,
    SizeOf,
    TradeRow,
    nobodys,
    read_order_row,
    read_trade_row,
)
from app.venue.polymarket.wire import Exchange, Phase

FIRST_CURSOR: Final = "MA=="
END_CURSOR: Final = "LTE="

_MOST_DIGITS: Final = 18
"""Of a balance in millionths: more is no balance of collateral or shares, and no database could hold it."""

_NO_SUCH_ORDER: Final = re.compile(r"(?:the )?order(?: 0x[0-9a-f]+)? (?:was )?not found\b.{0,90}")

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, every row of it understood."""

    rows: tuple[T, ...]
    next_cursor: str | None
    """Where the next page begins; None on the last one."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The venue's cached view of one asset. The chain is the truth (docs/venue.md 11)."""

    balance_micros: int
    allowances: tuple[tuple[str, int], ...]
    """Spender, in lower case, and what it may move; an allowance without limit is 2^256 - 1."""

    def allowance(self, spender: str) -> int:
        """What ``spender`` may move; 0 where it is not named."""
        return dict(self.allowances).get(spender.lower(), 0)


@dataclass(frozen=True, slots=True)
class Beat:
    """The heartbeat was taken. ``next_id`` goes with the next one."""

    next_id: str


@dataclass(frozen=True, slots=True)
class WrongBeat:
    """The heartbeat was refused and the deadline has not moved. Send again with ``expected_id``."""

    expected_id: str


@dataclass(frozen=True, slots=True)
class PositionRow:
    """What the Data API shows of one outcome. A size of zero proves nothing (lesson 18)."""

    token_id: str
    condition_id: str
    wallet: str
    size_micros: int
    avg_price_micros: int | None
    entry_cost_micros: int | None
    """Without fees. None, like the next, where the venue's number has no end in millionths."""
    entry_fees_micros: int | None
    status: str
    redeemable: bool | None
    mergeable: bool | None
    negative_risk: bool | None


def read_order(
    exchange: Exchange, venue_order_id: str, size_of: SizeOf = nobodys
) -> Found[OrderRow] | Absent | Unread:
    """One order by its id. ``null`` and "order not found" are `Absent`, which alone proves no absence."""
    try:
        if _says_not_found(exchange):
            return Absent(raw_of(exchange))
        body = document(exchange)
        if body is None:
            return Absent(raw_of(exchange))
        row = read_order_row(body, size_of)
    except Unreadable as error:
        return Unread(str(error))
    if row.order.venue_order_id != venue_order_id.lower():
        return Unread(f"another order was answered: {kept(row.order.venue_order_id, 80)}")
    return Found(row)


def _says_not_found(exchange: Exchange) -> bool:
    # The venue gives 404 for every error that holds "not found", so the words must be about the order.
    if exchange.phase is not Phase.DONE or exchange.status != 404:
        return False
    text = " ".join(said_by(exchange).text.split()).lower()
    return len(text) < 300 and _NO_SUCH_ORDER.fullmatch(text) is not None


def read_orders_page(exchange: Exchange, size_of: SizeOf = nobodys) -> Page[OrderRow] | Unread:
    """One page of ``GET /data/orders``. An order that is not in the list may still live."""
    return _page(exchange, lambda value: read_order_row(value, size_of))


def read_trades_page(exchange: Exchange) -> Page[TradeRow] | Unread:
    """One page of ``GET /data/trades``; `own.own_fills` says of each row what is ours in it."""
    return _page(exchange, read_trade_row)


def read_rewards_page(exchange: Exchange, read: Callable[[object], T]) -> Page[T] | Unread:
    """One page of ``GET /rewards/user``, its rows as ``read`` has them."""
    return _page(exchange, read)


def read_positions_page(exchange: Exchange) -> Page[PositionRow] | Unread:
    """One page of ``GET /v2/positions`` of the Data API."""
    try:
        envelope = Fields(document(exchange), "page")
        pagination = Fields(envelope.get("pagination"), "pagination")
        more = pagination.flag("has_more")
        if more is None:
            raise Unreadable("the page does not say whether there is more")
        cursor = pagination.text("next_cursor") if more else None
        return Page(tuple(_position(row) for row in envelope.rows("data")), cursor)
    except Unreadable as error:
        return Unread(str(error))


def read_balance(exchange: Exchange) -> Found[Balance] | Unread:
    """``GET /balance-allowance``: base units as text; a number with a point is whole units."""
    return _one(exchange, _balance)


def read_closed_only(exchange: Exchange) -> Found[bool] | Unread:
    """``GET /auth/ban-status/closed-only``."""
    return _one(exchange, _closed_only)


def read_geoblock(exchange: Exchange) -> Found[bool] | Unread:
    """``GET /api/geoblock``: whether our address is blocked."""
    return _one(exchange, _blocked)


def read_time_ms(exchange: Exchange) -> Found[int] | Unread:
    """``GET /time``: the venue's clock, to the second, as Unix milliseconds."""
    return _one(exchange, _time)


def read_version(exchange: Exchange) -> Found[int] | Unread:
    """``GET /version``: the version of the exchange's orders, such as 2."""
    return _one(exchange, _version)


def read_tier(exchange: Exchange) -> Found[str] | Unread:
    """``GET /v1/user/rate-limit-tier``: the tier's name in lower case."""
    return _one(exchange, lambda body: Fields(body, "tier").text("tier").lower())


def read_heartbeat(exchange: Exchange) -> Beat | WrongBeat | Unread:
    """``POST /v1/heartbeats``. Unread: it may have been taken or not; only a `Beat` moves the deadline."""
    try:
        if exchange.phase is Phase.DONE and exchange.status == 400:
            refusal = Fields(parse(body_text(exchange)), "heartbeat")
            if refusal.text("error_msg").lower() == "invalid heartbeat id":
                # May be empty: then the next one begins a new chain.
                return WrongBeat(refusal.optional("heartbeat_id"))
        return Beat(Fields(document(exchange), "heartbeat").text("heartbeat_id"))
    except Unreadable as error:
        return Unread(str(error))


# --- the shapes -----------------------------------------------------------------------------------


def _one(exchange: Exchange, read: Callable[[object], S]) -> Found[S] | Unread:
    try:
        return Found(read(document(exchange)))
    except Unreadable as error:
        return Unread(str(error))


def _page(exchange: Exchange, read: Callable[[object], T]) -> Page[T] | Unread:
    try:
        envelope = Fields(document(exchange), "page")
        rows = tuple(read(row) for row in envelope.rows("data"))
        return Page(rows, _next_cursor(envelope))
    except Unreadable as error:
        return Unread(str(error))


def _next_cursor(envelope: Fields) -> str | None:
    """The end is said in words (``LTE=``, or null). A page without the field may be a page cut short."""
    if not envelope.has("next_cursor"):
        raise Unreadable("the page does not say whether there is more")
    if envelope.get("next_cursor") is None:
        return None
    cursor = envelope.text("next_cursor")
    return None if cursor == END_CURSOR else cursor


def _closed_only(body: object) -> bool:
    flag = Fields(body, "status").flag("closed_only")
    if flag is None:
        raise Unreadable("the answer does not say whether the account may only close")
    return flag


def _blocked(body: object) -> bool:
    flag = Fields(body, "geoblock").flag("blocked")
    if flag is None:
        raise Unreadable("the answer does not say whether we are blocked")
    return flag


def _time(body: object) -> int:
    at_ms = instant_ms(body)
    if at_ms == NOT_TOLD:
        raise Unreadable("the answer holds no time")
    return at_ms


def _balance(body: object) -> Balance:
    row = Fields(body, "balance")
    told = row.decimal("balance")
    if len(told) > _MOST_DIGITS:
        raise Unreadable(f"a balance of {told[:40]} is more than there is")
    allowances = row.get("allowances")
    spenders = Fields({} if allowances is None else allowances, "allowances")
    return Balance(
        row.micros("balance") if "." in told else _base_units(told),
        tuple((name.lower(), _base_units(spenders.get(name))) for name in spenders.names()),
    )


def _base_units(told: object) -> int:
    """A whole number up to the 78 digits of a uint256, as a number or as text."""
    if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
        return told
    if isinstance(told, str) and re.fullmatch(r"[0-9]{1,78}", told):
        return int(told)
    raise Unreadable(f"no base units: {told!r:.60}")


def _version(body: object) -> int:
    told = plain(Fields(body, "version").get("version") if isinstance(body, dict) else body)
    if told is None or not re.fullmatch(r"[0-9]{1,4}", told):
        raise Unreadable("the answer holds no version")
    return int(told)


def _position(value: object) -> PositionRow:
    row = Fields(value, "position")
    return PositionRow(
        row.text("token_id"),
        row.optional("condition_id"),
        row.optional("proxy_wallet").lower(),
        row.micros("current_size"),
        row.optional_micros("avg_price"),
        row.optional_micros("entry_cost_usdc"),
        row.optional_micros("entry_fees_usdc"),
        row.optional("status"),
        row.flag("redeemable"),
        row.flag("mergeable"),
        row.flag("negative_risk"),
    )
