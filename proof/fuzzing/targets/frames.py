"""Frames of both streams, one by one: every item becomes something, nothing of it is made up, and the next is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from app.clock import SystemClock
from app.errors import BadInput
from app.markets.books.desk import Desk, Followed
from app.markets.books.fallback import prove
from app.markets.books.frames import BookFrame, read_frames
from app.markets.books.notices import Rules, ignore
from app.markets.fetching import Unread
from app.money import MAX_MICROS, MICROS
from app.venue.interface import OrderEvent, TradeEvent, UnreadEvent
from app.venue.polymarket import answers
from proof.fuzzing import documents as docs
from proof.fuzzing.answers import Nonsense, plainly, printable_enough, whole
from proof.fuzzing.bending import bent, changes_of, encoded
from proof.fuzzing.model import Random, Target, Violated, require, steady
from proof.fuzzing.targets.reading import WE, fraction, same_fill, same_order

_MOST_EVENT_ID: Final = 300


def as_frame(data: bytes) -> str:
    """As the socket hands it on."""
    return data.decode("utf-8", "backslashreplace")


# --- the user channel -----------------------------------------------------------------------------


def user_tree(rng: Random) -> Any:
    """One item or several, as the channel sends them."""
    if rng.random() < 0.08 and (found := docs.of_recorded(rng, "ws-user")) is not None:
        return found
    items = [_user_item(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    return items if len(items) > 1 or rng.random() < 0.4 else items[0]


def _user_item(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        kind = {"type": rng.choice(("PLACEMENT", "UPDATE", "CANCELLATION")), "event_type": "order"}
        return docs.order(rng) | kind | {"order_owner": docs.OWNER, "timestamp": "1794909600"}
    return docs.trade(rng) | {"type": "TRADE", "event_type": "trade", "timestamp": "1794909600"}


def make_user(rng: Random) -> str:
    many = changes_of(rng)
    return as_frame(encoded(rng, bent(rng, user_tree(rng), many), damage=0.15 if many else 0.0))


def check_user(frame: str) -> str:
    events = answers.frame_events(frame, WE)
    text = frame.replace("\0", "\ufffd").strip()
    if not text or text.upper() in ("PING", "PONG"):
        require(not events, "misread", "a keep-alive became an event")
        return "none"
    items = _items(text)
    least = 1 if items is None else len(items)
    require(len(events) >= least, "misread", f"{least} items became {len(events)} events")
    for event in events:
        _event(event, items is not None)
    kinds = {type(event).__name__ for event in events}
    return "+".join(sorted(kinds)) or "none"


def _items(text: str) -> list[Any] | None:
    try:
        value = plainly(text.encode("utf-8", "replace"))
    except Nonsense:
        return None
    return value if isinstance(value, list) else [value]


def _event(event: Any, readable: bool) -> None:
    require(
        event.event_id.isascii() and len(event.event_id) <= _MOST_EVENT_ID,
        "misread",
        "an event id that cannot be stored",
    )
    require("\0" not in event.raw, "misread", "a NUL would be stored")
    event.raw.encode()
    if isinstance(event, UnreadEvent):
        printable_enough(event.reason, "the reason of an unread event")
    else:
        require(readable or event.raw, "misread", "an event of a frame that is no JSON")
        row = _row(event.raw)
        if isinstance(event, OrderEvent):
            same_order(event.order, row)
        elif isinstance(event, TradeEvent):
            same_fill(event.trade, row)
    again = answers.read_event(event.event_id, event.raw, WE)
    # One that was unread may have become readable, or tells anew why it has not.
    same = again.event_id == event.event_id if isinstance(event, UnreadEvent) else again == event
    require(same, "misread", "a stored event is read as another one")


def _row(raw: str) -> dict[str, Any]:
    try:
        row = plainly(raw.encode())
    except Nonsense as error:
        raise Violated("misread", f"an event of what is no JSON: {error}") from error
    require(isinstance(row, dict), "misread", "an event of no object")
    found: dict[str, Any] = row
    return found


# --- the market channel ---------------------------------------------------------------------------

BIDS: Final = {450_000: 10_000_000, 440_000: 5_000_000}
ASKS: Final = {470_000: 10_000_000}
FOLLOWED: Final = Followed(docs.TOKEN, docs.CONDITION, 10_000, 5_000_000, False)


def _book(rng: Random) -> dict[str, Any]:
    return {
        "event_type": "book",
        "market": docs.CONDITION,
        "asset_id": docs.TOKEN,
        "timestamp": str(1_794_909_600_000 + rng.randrange(1_000)),
        "hash": f"{rng.getrandbits(160):040x}",
        "bids": [
            {"price": "0.44", "size": "5"},
            {"price": ".45", "size": rng.choice(("10", "0", "10.5"))},
        ],
        "asks": [{"price": "0.47", "size": "10"}, {"price": "0.5", "size": 12}],
        "tick_size": "0.01",
        "last_trade_price": rng.choice(("0.500", "", None)),
        "min_order_size": "5",
        "neg_risk": False,
    }


def _change(rng: Random) -> dict[str, Any]:
    moves = [
        {
            "asset_id": rng.choice((docs.TOKEN, docs.OTHER_TOKEN)), "price": rng.choice(("0.45", "0.46", "0.0001")),
            "size": rng.choice(("0", "7.5", "100")), "side": rng.choice(("BUY", "SELL")),
            "hash": f"{rng.getrandbits(160):040x}",
            "best_bid": rng.choice(("0.45", "0", "")), "best_ask": rng.choice(("0.47", "1", "")),
        }
        for _ in range(rng.choice((1, 1, 2, 4)))
    ]  # fmt: skip
    head = {"event_type": "price_change", "market": docs.CONDITION, "timestamp": "1794909600500"}
    if rng.random() < 0.2:
        return head | moves[0]
    return head | {rng.choice(("price_changes", "price_changes", "changes")): moves}


def _other(rng: Random) -> dict[str, Any]:
    head = {"market": docs.CONDITION, "asset_id": docs.TOKEN, "timestamp": "1794909600700"}
    return head | rng.choice(
        (
            {"event_type": "tick_size_change", "old_tick_size": "0.01", "new_tick_size": "0.001"},
            {"event_type": "last_trade_price", "price": "0.45", "size": "3", "side": "BUY"},
            {"event_type": "best_bid_ask", "best_bid": "0.45", "best_ask": "0.47"},
            {"event_type": "market_resolved", "assets_ids": [docs.TOKEN], "winning_asset_id": docs.OTHER_TOKEN,
                "winning_outcome": "Down"},
            {"event_type": "new_market", "assets_ids": [docs.TOKEN], "slug": "s", "order_price_min_tick_size": 0.01},
        )
    )  # fmt: skip


def market_tree(rng: Random) -> Any:
    if rng.random() < 0.05 and (found := docs.of_recorded(rng, "ws-market")) is not None:
        return found
    items = [
        rng.choice((_book, _change, _change, _other))(rng) for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    return items if len(items) > 1 or rng.random() < 0.5 else items[0]


@dataclass(frozen=True, slots=True)
class Told:
    """Messages of the market channel, one after another."""

    texts: tuple[str, ...]


def make_market(rng: Random) -> Told:
    return Told(tuple(_market_text(rng) for _ in range(rng.choice((1, 2, 3)))))


def _market_text(rng: Random) -> str:
    many = changes_of(rng)
    return as_frame(encoded(rng, bent(rng, market_tree(rng), many), damage=0.12 if many else 0.0))


def check_market(given: Told) -> str:
    desk = Desk(SystemClock(), Rules(), ignore, None)
    desk.open(FOLLOWED)
    for text in given.texts:
        frames, unparsed = read_frames(text)
        require(frames or unparsed or _is_empty(text), "misread", "a message became nothing")
        for frame in frames:
            _frame(frame, text)
        for one in unparsed:
            printable_enough(one.why, "why a message is unread")
        desk.take(1, text)
        _sane(desk)
    outcome = (
        "suspect"
        if desk.books[docs.TOKEN].suspect
        else "book"
        if desk.books[docs.TOKEN].bids
        else "none"
    )
    _goes_on(desk)
    return outcome


def _is_empty(text: str) -> bool:
    try:
        return bool(json.loads(text) == [])
    except (ValueError, RecursionError):
        return False


def _frame(frame: object, text: str) -> None:
    """Numbers of a frame are exact and within what trades."""
    if not isinstance(frame, BookFrame):
        return
    for levels in (frame.bids, frame.asks):
        for price, size in levels.items():
            whole(price, 1, MICROS - 1, "a level's price")
            whole(size, 1, MAX_MICROS, "a level's size")
    told = _told_levels(text, frame.token_id)
    if told is not None:
        for price, size in (*frame.bids.items(), *frame.asks.items()):
            require((price, size) in told, "misread", f"a level {price}/{size} that was not told")


def _told_levels(text: str, token_id: str) -> set[tuple[int, int]] | None:
    """Every (price, size) that the message holds; None where a key stands twice and it may be read in two ways."""
    try:
        value = plainly(text.encode("utf-8", "surrogatepass"))
    except Nonsense:
        return None
    found: set[tuple[int, int]] = set()
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and token_id in (item.get("asset_id"), item.get("token_id")):
            for level in (*_list(item.get("bids")), *_list(item.get("asks"))):
                price, size = fraction(level.get("price")), fraction(level.get("size"))
                if price is not None and size is not None:
                    found.add((int(price * MICROS), int(size * MICROS)))
    return found


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _sane(desk: Desk) -> None:
    for book in desk.books.values():
        for price, size in (*book.bids.items(), *book.asks.items()):
            whole(price, 1, MICROS - 1, "a price of a book")
            whole(size, 1, MAX_MICROS, "a size of a book")
        require(len(book.trades) <= 64, "misread", "trades are kept without bound")


def good_book() -> dict[str, Any]:
    """What the venue sends after a subscription. Without a hash: nothing of what came before is in it."""
    return {
        "event_type": "book", "market": docs.CONDITION, "asset_id": docs.TOKEN, "timestamp": "1794909700000",
        "bids": [{"price": "0.44", "size": "5"}, {"price": "0.45", "size": "10"}], "asks": [{"price": "0.47",
        "size": "10"}],
        "tick_size": "0.01",
    }  # fmt: skip


def _goes_on(desk: Desk) -> None:
    """A new connection brings the book, whatever was told on the one before."""
    desk.lost([docs.TOKEN])
    desk.take(2, json.dumps([good_book()]))
    book = desk.books[docs.TOKEN]
    require(
        (dict(book.bids), dict(book.asks), book.suspect) == (BIDS, ASKS, ""),
        "stuck",
        f"after a new connection the book is {dict(book.bids)} / {dict(book.asks)} {book.suspect}",
    )


def make_snapshot(rng: Random) -> bytes:
    return encoded(rng, bent(rng, _book(rng), changes_of(rng)))


def check_snapshot(given: bytes) -> str:
    """The answer to ``GET /book`` as the fallback reads it: without a hash that is reproduced it proves nothing."""
    from app.markets.books.book import empty
    from app.markets.exact_json import single

    try:
        value = single(given.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return "no JSON"
    known = empty(
        docs.TOKEN,
        market=docs.CONDITION,
        tick_micros=10_000,
        min_size_micros=5_000_000,
        neg_risk=False,
    )
    try:
        book = prove(known, value, newest_ms=0, seen_ns=1)
    except BadInput as error:
        raise Violated("crash", f"prove raised {error.code}") from error
    if isinstance(book, Unread):
        return "unread"
    require(
        book.token_id == docs.TOKEN and book.proven_ms is not None,
        "misread",
        "a book without proof",
    )
    return "book"


TARGETS: Final = (
    Target("user-frame", make_user, steady(check_user), weight=2.0),
    Target("market-frame", make_market, steady(check_market), weight=2.0),
    Target("book-snapshot", make_snapshot, steady(check_snapshot), weight=0.6),
)
