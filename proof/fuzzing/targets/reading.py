"""Bodies of the reads: found is what is there, absent what the venue says cleanly, numbers are exact or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from app.money import MAX_MICROS, MICROS
from app.venue.interface import Absent, Unread, VenueOrder, VenueTrade
from app.venue.polymarket import answers
from app.venue.polymarket.answers import FeeTerms, Ours, TradeRow, Unreadable, data_api
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing import documents as docs
from proof.fuzzing.answers import (
    IDS,
    OURS,
    Nonsense,
    bent_exchange,
    body_of,
    printable_enough,
    whole,
)
from proof.fuzzing.model import Random, Target, Violated, require, steady

WE: Final = Ours(
    frozenset({docs.OWNER}),
    docs.WALLET,
    lambda one: one in IDS,
    lambda _: FeeTerms(70_000),
    docs.size_of,
)


@dataclass(frozen=True, slots=True)
class Read:
    """Which read, and the answer to it."""

    name: str
    exchange: Exchange


# --- exact numbers --------------------------------------------------------------------------------


def fraction(told: Any) -> Fraction | None:
    """What a number of the answer is, exactly; None for what is none."""
    if isinstance(told, bool) or not isinstance(told, int | str):
        return None
    text = str(told).strip()
    if not text.isascii() or "_" in text or "/" in text or len(text) > 400:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def exactly(micros: int, told: Any, what: str, *, base_units: bool = False) -> None:
    """The amount is the number that was told: as shares, or where both may be meant as millionths of one."""
    whole(micros, 0, MAX_MICROS, what)
    value = fraction(told)
    require(value is not None, "misread", f"{what} was read from {told!r:.60}")
    assert value is not None
    allowed = {value * MICROS} | ({value} if base_units else set())
    require(micros in allowed, "misread", f"{what} is {micros}, and {told!r:.60} was told")


def near(micros: int, told: Any, what: str) -> None:
    """A price is the told one to the nearest millionth, from 0 to 1."""
    whole(micros, 0, MICROS, what)
    value = fraction(told)
    require(value is not None, "misread", f"{what} was read from {told!r:.60}")
    assert value is not None
    require(
        abs(value * MICROS - micros) <= Fraction(1, 2),
        "misread",
        f"{what} is {micros}, and {told!r:.60} was told",
    )


def same_order(order: VenueOrder, row: Any) -> None:
    """What was read of an order is what its row says."""
    require(isinstance(row, dict), "misread", "an order was read from no object")
    require(
        order.venue_order_id == str(row.get("id")).strip().lower(),
        "misread",
        "an order of another id was read",
    )
    require(
        order.side.value == str(row.get("side")).strip().upper(),
        "misread",
        "an order of another side was read",
    )
    require(
        order.token_id == str(row.get("asset_id")).strip(),
        "misread",
        "an order of another token was read",
    )
    near(order.price_micros, row.get("price"), "price")
    exactly(order.original_size_micros, row.get("original_size"), "original size", base_units=True)
    if row.get("size_matched") not in (None, ""):
        exactly(order.size_matched_micros, row.get("size_matched"), "size matched", base_units=True)
    else:
        require(order.size_matched_micros == 0, "misread", "a size was made up")
    ended = order.status.value in ("CANCELLED", "EXPIRED", "REJECTED", "MATCHED")
    told = str(row.get("status", "")).upper()
    words = ("CANCEL", "INVALID", "MATCHED")
    require(
        not ended or any(word in told for word in words),
        "misread",
        f"ended by the status {told[:40]!r}",
    )
    require(not (ended and "UNMATCHED" in told), "misread", "ended by UNMATCHED")


def same_fill(fill: VenueTrade, row: dict[str, Any]) -> None:
    """A fill of ours has the values of our own part."""
    require(fill.venue_order_id, "misread", "a fill of no order")
    require(type(fill.is_maker) is bool, "misread", "a fill that is neither")
    whole(fill.fee_micros, 0, MAX_MICROS, "fee")
    makers = [one for one in row.get("maker_orders") or [] if isinstance(one, dict)]
    if fill.is_maker:
        parts = [
            one for one in makers if str(one.get("order_id")).strip().lower() == fill.venue_order_id
        ]
        # Strangers' parts may bear the same id: then one of them is ours by its owner.
        mine = [one for one in parts if fill.token_id == str(one.get("asset_id")).strip()]
        require(mine, "misread", "a maker's fill of another token, or of no part")
        mine = [one for one in mine if len(mine) == 1 or _told_so(fill, one)]
        require(len(mine) >= 1, "misread", "a maker's fill that no part tells")
        near(fill.price_micros, mine[0].get("price"), "price of a maker's fill")
        exactly(
            fill.size_micros,
            mine[0].get("matched_amount"),
            "size of a maker's fill",
            base_units=True,
        )
    else:
        require(
            str(row.get("taker_order_id")).strip().lower() == fill.venue_order_id,
            "misread",
            "a taker's fill of another order",
        )
        near(fill.price_micros, row.get("price"), "price of a taker's fill")
        exactly(fill.size_micros, row.get("size"), "size of a taker's fill", base_units=True)
    final = fill.status.value in ("CONFIRMED", "FAILED")
    told = str(row.get("status", "")).upper()
    require(not final or fill.status.value in told, "misread", f"final by the status {told[:40]!r}")


def _told_so(fill: VenueTrade, part: dict[str, Any]) -> bool:
    price, size = fraction(part.get("price")), fraction(part.get("matched_amount"))
    if price is None or size is None:
        return False
    return abs(price * MICROS - fill.price_micros) <= Fraction(1, 2) and fill.size_micros in (
        size,
        size * MICROS,
    )


# --- the reads ------------------------------------------------------------------------------------


def _order(exchange: Exchange) -> str:
    answer = answers.read_order(exchange, OURS, docs.size_of)
    if isinstance(answer, Absent):
        _absent(exchange)
        return "Absent"
    if isinstance(answer, Unread):
        return _unread(answer)
    same_order(answer.value.order, _clean(exchange))
    require(
        answer.value.order.venue_order_id == OURS, "misread", "another order was taken for ours"
    )
    return "Found"


def _absent(exchange: Exchange) -> None:
    """Absent is a clean null, or a 404 that says that the order was not found."""
    require(exchange.phase is Phase.DONE, "misread", "absent without a complete answer")
    if exchange.status == 200:
        require(
            exchange.body.strip(b" \t\r\n") == b"null",
            "misread",
            "absent, and the answer is not null",
        )
        return
    try:
        body = body_of(exchange)
    except Nonsense as error:
        raise Violated("misread", "absent by an answer that is none") from error
    told = (
        [str(body.get(name, "")) for name in ("error", "errorMsg")]
        if isinstance(body, dict)
        else []
    )
    said = any(
        "not found" in " ".join(one.lower().split()) and "order" in one.lower() for one in told
    )
    require(exchange.status == 404 and said, "misread", f"absent by HTTP {exchange.status}")


def _unread(answer: Unread) -> str:
    printable_enough(answer.reason, "the reason of an unread answer")
    return "Unread"


def _clean(exchange: Exchange) -> Any:
    """The body of a complete 200; anything else cannot have been read."""
    require(
        exchange.phase is Phase.DONE and exchange.status == 200,
        "misread",
        f"read from HTTP {exchange.status}",
    )
    try:
        return body_of(exchange)
    except Nonsense as error:
        raise Violated("misread", f"read from what is no JSON: {error}") from error


def _rows(exchange: Exchange, got: int) -> list[Any]:
    """The rows of the page: as many as were read, or some were lost."""
    body = _clean(exchange)
    rows = body.get("data") if isinstance(body, dict) else None
    require(
        isinstance(rows, list) and len(rows) == got,
        "misread",
        f"{got} rows were read of another number",
    )
    assert isinstance(rows, list)
    return rows


def _cursor(exchange: Exchange, cursor: str | None) -> None:
    """The end of a list is what the page says in words."""
    body = _clean(exchange)
    require(
        "next_cursor" in body, "misread", "a page was complete that does not say how it goes on"
    )
    told = body["next_cursor"]
    ended = told is None or (isinstance(told, str) and told.strip() == "LTE=")
    require((cursor is None) == ended, "misread", f"the list ends with {told!r:.40}")


def _orders(exchange: Exchange) -> str:
    answer = answers.read_orders_page(exchange, docs.size_of)
    if isinstance(answer, Unread):
        return _unread(answer)
    for read, row in zip(answer.rows, _rows(exchange, len(answer.rows)), strict=True):
        same_order(read.order, row)
    _cursor(exchange, answer.next_cursor)
    return "Page"


def _trades(exchange: Exchange) -> str:
    answer = answers.read_trades_page(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    fills = 0
    for read, row in zip(answer.rows, _rows(exchange, len(answer.rows)), strict=True):
        fills += _fills(read, row)
    _cursor(exchange, answer.next_cursor)
    return "Page with fills" if fills else "Page"


def _fills(read: TradeRow, row: Any) -> int:
    try:
        fills = answers.own_fills(read, WE)
    except Unreadable as error:
        printable_enough(str(error), "the reason of an unread trade")
        return 0
    for fill in fills.values():
        same_fill(fill, row)
    return len(fills)


def _positions(exchange: Exchange) -> str:
    answer = answers.read_positions_page(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    for read, row in zip(answer.rows, _rows(exchange, len(answer.rows)), strict=True):
        exactly(read.size_micros, row["current_size"], "size of a position")
    more = _clean(exchange)["pagination"]["has_more"]
    require(
        (answer.next_cursor is not None) is more, "misread", "a page of positions ends elsewhere"
    )
    return "Page"


def _balance(exchange: Exchange) -> str:
    answer = answers.read_balance(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    told = _clean(exchange)["balance"]
    whole(answer.value.balance_micros, 0, 10**18, "balance")
    value = fraction(told)
    unit = MICROS if "." in str(told) or "e" in str(told).lower() else 1
    require(
        value is not None and answer.value.balance_micros in (value, value * unit),
        "misread",
        f"balance {told!r:.40}",
    )
    for _, allowance in answer.value.allowances:
        require(
            type(allowance) is int and allowance >= 0, "misread", "an allowance that is no number"
        )
    return "Found"


def _flag(name: str, read: Callable[[Exchange], Any]) -> Callable[[Exchange], str]:
    def check(exchange: Exchange) -> str:
        answer = read(exchange)
        answers.mode_of(exchange)
        if isinstance(answer, Unread):
            return _unread(answer)
        require(answer.value is _clean(exchange).get(name), "misread", f"{name} was read otherwise")
        return "Found"

    return check


def _beat(exchange: Exchange) -> str:
    answer = answers.read_heartbeat(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    if isinstance(answer, answers.Beat):
        require(
            answer.next_id == str(_clean(exchange).get("heartbeat_id")).strip(),
            "misread",
            "a beat of another id",
        )
        return "Beat"
    require(
        exchange.status == 400 and exchange.phase is Phase.DONE,
        "misread",
        "a wrong beat that is none",
    )
    return "WrongBeat"


def _time(exchange: Exchange) -> str:
    answer = answers.read_time_ms(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    _clean(exchange)
    whole(answer.value, 1, 4_102_444_800_000, "the venue's time")
    return "Found"


def _version(exchange: Exchange) -> str:
    answer = answers.read_version(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    _clean(exchange)
    whole(answer.value, 0, 9_999, "the venue's version")
    return "Found"


def _tier(exchange: Exchange) -> str:
    answer = answers.read_tier(exchange)
    if isinstance(answer, Unread):
        return _unread(answer)
    require(
        answer.value and answer.value == str(_clean(exchange).get("tier")).strip().lower(),
        "misread",
        "another tier",
    )
    return "Found"


def _data(read: Callable[[Exchange], Any]) -> Callable[[Exchange], str]:
    def check(exchange: Exchange) -> str:
        answer = read(exchange)
        if isinstance(answer, Unread):
            return _unread(answer)
        body = _clean(exchange)
        rows = body if isinstance(body, list) else body["data"]
        require(len(rows) == len(answer.value), "misread", "rows of the Data API were lost")
        for got, row in zip(answer.value, rows, strict=True):
            exactly(got.size_micros, row["size"], "size in the Data API")
        return "Found"

    return check


# --- inputs ---------------------------------------------------------------------------------------

Tree = Callable[[Random], Any]


def _page_of(row: Tree) -> Tree:
    return lambda rng: docs.page(
        [row(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))],
        rng.choice(("LTE=", "LTE=", "MTAw", None)),
    )


def _positions_page(rng: Random) -> Any:
    more = rng.random() < 0.3
    rows = [docs.position(rng) for _ in range(rng.choice((0, 1, 2)))]
    return {"data": rows, "pagination": {"has_more": more, "next_cursor": "c2" if more else ""}}


def _not_found(rng: Random) -> Any:
    if rng.random() < 0.8:
        return docs.order(rng)
    return {
        "error": rng.choice(
            (
                "order not found",
                "Order not found",
                f"order {OURS} not found",
                "market not found",
                "not found",
            )
        )
    }


def _listed(row: Tree) -> Tree:
    def tree(rng: Random) -> Any:
        rows = [row(rng) for _ in range(rng.choice((0, 1, 2)))]
        return rows if rng.random() < 0.5 else {"data": rows}

    return tree


_READS: Final[dict[str, tuple[Endpoint, Tree, Callable[[Exchange], str]]]] = {
    "order": (Endpoint.GET_ORDER, _not_found, _order),
    "orders": (Endpoint.GET_ORDERS, _page_of(docs.order), _orders),
    "trades": (Endpoint.GET_TRADES, _page_of(docs.trade), _trades),
    "positions": (Endpoint.GET_POSITIONS, _positions_page, _positions),
    "balance": (Endpoint.GET_BALANCE, docs.balance, _balance),
    "closed-only": (Endpoint.GET_CLOSED_ONLY, lambda rng: {"closed_only": rng.random() < 0.5}, _flag("closed_only",
    answers.read_closed_only)),
    "geoblock": (Endpoint.GET_GEOBLOCK, lambda rng: {"blocked": rng.random() < 0.5, "country": "CH"},
    _flag("blocked", answers.read_geoblock)),
    "heartbeat": (Endpoint.POST_HEARTBEAT,
    lambda rng: {"heartbeat_id": "b-1"} if rng.random() < 0.6 else {"error_msg": "Invalid Heartbeat ID",
        "heartbeat_id": "b-2"}, _beat),
    "time": (Endpoint.GET_TIME, lambda rng: rng.choice((1_794_909_600, "1794909600")), _time),
    "version": (Endpoint.GET_VERSION, lambda _: {"version": 2}, _version),
    "tier": (Endpoint.GET_TIER, lambda rng: {"tier": rng.choice(("Standard", "gold"))}, _tier),
    "data-trades": (Endpoint.GET_POSITIONS, _listed(docs.public_trade), _data(data_api.read_public_trades)),
    "data-activity": (Endpoint.GET_POSITIONS, _listed(docs.activity), _data(data_api.read_activity)),
    "data-positions": (Endpoint.GET_POSITIONS, _listed(docs.old_position), _data(data_api.read_old_positions)),
}  # fmt: skip


def _make(name: str) -> Callable[[Random], Read]:
    endpoint, tree, _ = _READS[name]

    def make(rng: Random) -> Read:
        value = tree(rng)
        status = 200
        if isinstance(value, dict) and ("error" in value or "error_msg" in value):
            status = 404 if "error" in value else 400
        elif name == "order" and rng.random() < 0.1:
            value = docs.of_recorded(rng, "clob-rest") or value
        return Read(name, bent_exchange(rng, endpoint, value, status=status))

    return make


def _check(given: Read) -> str:
    return _READS[given.name][2](given.exchange)


_WEIGHTS: Final = {"order": 1.5, "orders": 1.5, "trades": 2.0, "balance": 0.8, "positions": 0.8}
TARGETS: Final = tuple(
    Target(f"read-{name}", _make(name), steady(_check), weight=_WEIGHTS.get(name, 0.3))
    for name in _READS
)
