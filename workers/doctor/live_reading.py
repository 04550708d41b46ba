"""What the answers of the live test mean. Pure functions over exchanges."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.money import format_micros
from app.venue.interface import Absent, Accepted, Found, Rejected, Seen, Unread, VenueOrderStatus
from app.venue.polymarket.answers.border import Fields, Unreadable, document, raw_of
from app.venue.polymarket.answers.outcomes import place_outcomes
from app.venue.polymarket.answers.pacing import budget_of
from app.venue.polymarket.answers.reading import read_order, read_orders_page
from app.venue.polymarket.wire import Exchange
from workers.doctor.live_plan import Answer, LiveOrder

LIVING = (VenueOrderStatus.LIVE, VenueOrderStatus.DELAYED)
ALARM = "ALARM: "
"""How a meaning begins that contradicts what the ledger's rules rest on."""


@dataclass(frozen=True, slots=True)
class Sight:
    """An order as one read by id, or one list filtered by id, shows it."""

    known: bool | None
    """None: the read says nothing."""
    living: bool
    text: str


@dataclass(slots=True)
class Lags:
    """Milliseconds from the accepted post to the first read that shows the order; None: not seen."""

    by_id_ms: int | None = None
    by_list_ms: int | None = None
    first_misses: list[str] = field(default_factory=list)


def sight_by_id(exchange: Exchange, venue_order_id: str, size_micros: int) -> Sight:
    """From ``GET /data/order/{id}``; ``size_micros`` is what was signed, which tells the unit."""
    match read_order(exchange, venue_order_id, lambda _: size_micros):
        case Found(value=row):
            living = row.order.status in LIVING
            return Sight(True, living, f"{row.order.raw_status or 'no status'}")
        case Absent(raw=raw):
            return Sight(False, False, raw.strip()[:120] or "empty")
        case Unread(reason=reason):
            return Sight(None, False, reason[:200])


def sight_by_list(exchange: Exchange, venue_order_id: str, size_micros: int) -> Sight:
    """From ``GET /data/orders?id=``."""
    page = read_orders_page(exchange, lambda _: size_micros)
    if isinstance(page, Unread):
        return Sight(None, False, page.reason[:200])
    rows = [row for row in page.rows if row.order.venue_order_id == venue_order_id]
    if not rows:
        return Sight(False, False, f"{len(page.rows)} rows, ours is not among them")
    status = rows[0].order.status
    return Sight(True, status in LIVING, rows[0].order.raw_status or "no status")


def identity(order: LiveOrder, ours: str, signature_type: int, code: str, answer: str) -> Answer:
    """Question 1. ``code`` and ``answer`` are the attempt's, as the ledger recorded it."""
    about = f"signature type {signature_type}, {order.exchange} exchange"
    if code == "ID_MISMATCH":
        means = f"{ALARM}the venue answers with another id than our hash; the account is halted"
        return Answer(1, about, answer[:300], means, True)
    return Answer(1, about, f"accepted under {ours}", "the id is the hash, as assumed", True)


def scale_of_read(exchange: Exchange, order: LiveOrder) -> Answer:
    """Question 4, sizes in a read of the order."""
    try:
        row = Fields(document(exchange), "order")
        told = (
            f"original_size {row.get('original_size')!r}, size_matched {row.get('size_matched')!r}"
        )
        size = row.micros("original_size")
    except Unreadable as error:
        return Answer(4, "sizes of an order", str(error)[:200], "not told", False)
    if size == order.size_micros:
        return Answer(4, "sizes of an order", told, "decimal shares, as assumed", True)
    if size == order.size_micros * 1_000_000:
        means = "integers of 1e-6: read by the size that was signed"
        return Answer(4, "sizes of an order", told, means, True)
    means = f"{ALARM}neither shares nor micros of {format_micros(order.size_micros)}"
    return Answer(4, "sizes of an order", told, means, True)


def scale_of_answer(answer: str) -> Answer:
    """Question 4, amounts in the answer to the post, as the ledger kept it."""
    shown = answer[:300] or "not kept"
    means = "an order that rests has moved nothing yet: only a fill shows the scale"
    return Answer(4, "amounts in the answer to a post", shown, means, False)


def lag(lags: Lags, waited_ms: int) -> list[Answer]:
    """Question 3, right after the post."""
    found = []
    for about, ms in (("by id", lags.by_id_ms), ("by list with id", lags.by_list_ms)):
        if ms is None:
            means = (
                f"{ALARM}an accepted order is not shown: absence needs longer than {waited_ms} ms"
            )
            found.append(Answer(3, f"{about}, after the post", "not shown", means, False))
        else:
            means = "well inside the quarantine" if ms < 60_000 else "raise the quarantine"
            found.append(Answer(3, f"{about}, after the post", f"shown after {ms} ms", means, True))
    before = "before it was shown"
    return [
        *found,
        *(Answer(3, before, miss, "how absence looks", True) for miss in lags.first_misses),
    ]


def stranger(by_id: Sight, by_list: Sight) -> list[Answer]:
    """Question 3, an id nobody used."""
    found = []
    for about, sight in (("by id", by_id), ("by list with id", by_list)):
        if sight.known:
            means = f"{ALARM}an id that nobody used is known"
        elif sight.known is None:
            means = "absence is not readable this way: such a read concludes nothing"
        else:
            means = "a clean absence, as assumed"
        settled = sight.known is False
        found.append(Answer(3, f"{about}, an id nobody used", sight.text, means, settled))
    return found


def after_cancel(about: str, sight: Sight) -> Answer:
    """Question 3, after the cancel."""
    if sight.living:
        return Answer(3, about, sight.text, "still alive when read: cancels need a read", False)
    means = "kept with its end" if sight.known else "gone: the end is not readable this way"
    if sight.known is None:
        means = "not told"
    return Answer(3, about, sight.text, means, sight.known is not None)


def early_cancel(told: str, state: str, ended: bool) -> Answer:
    """Question 6: ``told`` is the answer to the DELETE that came before the order."""
    means = (
        f"remembered, it seems: the order ended as {state} at once"
        if ended
        else "not remembered: a cancel of an unknown id must be repeated until quarantine ends"
    )
    return Answer(6, "a cancel just before its order", told[:300], means, True)


def repost(exchange: Exchange, venue_order_id: str, *, living: bool) -> tuple[Answer, bool]:
    """Question 2, and whether the venue now has the order live because of it."""
    about = "while it lives" if living else "after its cancel"
    (outcome,) = place_outcomes(exchange, [venue_order_id])
    seen = f"HTTP {exchange.status}: {raw_of(exchange)[:300]}"
    match outcome:
        case Seen():
            means, settled, revived = "Duplicated, as assumed: seen, then read", True, False
        case Accepted() if living:
            means, settled, revived = "answered as if it were new, under the same id", True, False
        case Accepted():
            means = (
                f"{ALARM}a cancelled order lives again: bytes must not be sent after a cancel, "
                "and the ledger does not"
            )
            settled, revived = True, True
        case Rejected(code=code):
            means, settled, revived = f"refused as {code}: proves nothing of the first", True, False
        case _:
            means, settled, revived = "no definite answer", False, not living
    return Answer(2, about, seen, means, settled), revived


def budget(exchange: Exchange) -> Answer | None:
    """Question 8, as far as headers tell."""
    told = budget_of(exchange)
    if told is None:
        return None
    seen = f"tier {told.tier or '?'}, remaining {told.remaining}, warning {told.warning}"
    means = "warning mode: not enforced" if told.warning else "counted; enforcement is not shown"
    return Answer(8, "headers of a post", seen, means, False)
