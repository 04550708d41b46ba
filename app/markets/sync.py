"""Markets from the venue: Gamma's keyset listings, page by page, then the CLOB's object of each.

A listing is complete or it is not. A page that fails, a cursor that comes back, an object that
cannot be read: what was read is kept, and from what is missing nothing is concluded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from app.clock import Ports
from app.errors import BadInput, Code
from app.markets.clob import (
    merge,
    read_clob_market,
    unknown_to_clob,
    unread_at_clob,
    worth_asking,
)
from app.markets.fetching import (
    CLOB_MARKET,
    GAMMA_EVENTS,
    GAMMA_MARKETS,
    Absent,
    Got,
    Query,
    Reader,
)
from app.markets.files import ImportReport, collect
from app.markets.model import MarketRecord, Reason
from app.markets.walk import Found, TooDeep, Unreadable, find_markets

PAGE: Final = 100
"""Gamma clamps to this without a word; a larger limit would only look like one."""

MOST_PAGES: Final = 2_000
MOST_IDS: Final = 50
"""Ids in one query: 66 characters each, and an address has an end."""

T = TypeVar("T")


class Completeness(StrEnum):
    """COMPLETE: what is not in it was not listed. INCOMPLETE: what is in it was listed, no more.
    UNREAD: nothing was read.
    """

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which markets. What is left empty does not restrict.

    ``tag`` is an id (digits) or a slug. ``closed``: None asks for both, which takes two listings,
    since Gamma hides closed markets unless asked. Event filters and market filters do not mix.
    """

    tag: str = ""
    event_ids: tuple[str, ...] = ()
    event_slugs: tuple[str, ...] = ()
    market_slugs: tuple[str, ...] = ()
    condition_ids: tuple[str, ...] = ()
    closed: bool | None = False
    active: bool | None = None

    def queries(self) -> list[tuple[str, str, Query]]:
        """(endpoint, name of its list, query) of each listing to read. Raises `BadInput`."""
        of_events = bool(self.event_ids or self.event_slugs)
        of_markets = bool(self.market_slugs or self.condition_ids)
        by_tag_slug = bool(self.tag) and not (self.tag.isascii() and self.tag.isdigit())
        if of_markets and (of_events or by_tag_slug):
            raise BadInput(
                Code.BAD_REQUEST,
                "events (or a tag's slug) and single markets cannot be asked for at once",
                not_done="nothing was read",
                next_step="ask twice",
            )
        where = (GAMMA_EVENTS, "events") if of_events or by_tag_slug else (GAMMA_MARKETS, "markets")
        base: dict[str, str | tuple[str, ...]] = {"limit": str(PAGE)}
        if self.tag:
            base["tag_slug" if by_tag_slug else "tag_id"] = self.tag
        named = {
            "id": self.event_ids,
            "slug": self.event_slugs or self.market_slugs,
            "condition_ids": self.condition_ids,
        }
        base |= {name: values for name, values in named.items() if values}
        if self.active is not None:
            base["active"] = _word(self.active)
        wishes = (False, True) if self.closed is None else (self.closed,)
        return [(*where, base | {"closed": _word(closed)}) for closed in wishes]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the pages of one listing held."""

    found: tuple[Found, ...]
    pages: int
    """Those that were read whole."""
    why: str = ""
    """What broke it off; empty for one read to its end."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """``markets`` are as the ledger stores them. ``unconfirmed`` are those whose CLOB object could
    not be read: refused with ``CLOB_UNREAD``, good for a market nobody knows yet, and no reason to
    touch one that is stored.
    """

    state: Completeness
    why: tuple[str, ...]
    markets: tuple[MarketRecord, ...]
    unconfirmed: tuple[MarketRecord, ...]
    listed: frozenset[str]
    """Condition ids of everything that was listed, wanted or not."""
    unreadable: tuple[Unreadable, ...]
    objects_seen: int
    duplicates: int
    pages: int

    def absent(self, condition_ids: Iterable[str]) -> frozenset[str] | None:
        """Which of these the venue does not list, or None where that cannot be known."""
        if self.state is not Completeness.COMPLETE:
            return None
        return frozenset(condition_ids) - self.listed


async def sync_markets(
    reader: Reader, ports: Ports, wanted: Wanted, *, concurrency: int = 8
) -> SyncReport:
    """Read the listings and confirm each market at the CLOB, at most ``concurrency`` at a time."""
    listings = [
        await read_listing(reader, endpoint, items, query)
        for endpoint, items, query in _chunked(wanted)
    ]
    report = collect(found for listing in listings for found in listing.found)
    chosen = [one for one in report.markets if _is_wanted(one, wanted)]
    answers = await each(ports, chosen, lambda one: confirm(reader, one), limit=concurrency)
    unread = Reason.CLOB_UNREAD
    confirmed = tuple(one for one in answers if unread not in one.untradable_reasons)
    unconfirmed = tuple(one for one in answers if unread in one.untradable_reasons)
    return _report(listings, report, confirmed, unconfirmed)


async def confirm(reader: Reader, gamma: MarketRecord) -> MarketRecord:
    """The record merged with its CLOB object, where that could make a difference."""
    if not worth_asking(gamma):
        return gamma
    answer = await reader.json(CLOB_MARKET, {"condition": gamma.condition_id})
    if isinstance(answer, Absent):
        return unknown_to_clob(gamma)
    if isinstance(answer, Got) and isinstance(answer.value, dict):
        try:
            return merge(gamma, read_clob_market(answer.value))
        except RecursionError:
            return unread_at_clob(gamma)
    return unread_at_clob(gamma)


async def read_listing(reader: Reader, endpoint: str, items: str, query: Query) -> Listing:
    """All pages of a keyset listing. It ends where ``next_cursor`` is missing, not at a short page."""
    found: list[Found] = []
    seen: set[str] = set()
    asked = dict(query)
    for page in range(1, MOST_PAGES + 1):
        answer = await reader.json(endpoint, asked)
        if not isinstance(answer, Got):
            return Listing(tuple(found), page - 1, f"page {page}: {answer.why}")
        held, cursor, why = _page(answer.value, items, f"page {page}: $")
        found += held
        if why:
            return Listing(tuple(found), page - 1, f"page {page}: {why}")
        if cursor is None:
            return Listing(tuple(found), page)
        if cursor in seen:
            return Listing(tuple(found), page, f"page {page}: its cursor was given before")
        seen.add(cursor)
        asked["after_cursor"] = cursor
    return Listing(tuple(found), MOST_PAGES, f"no end after {MOST_PAGES} pages")


async def each(
    ports: Ports,
    items: Sequence[T],
    work: Callable[[T], Awaitable[MarketRecord]],
    *,
    limit: int,
) -> list[MarketRecord]:
    """``work`` for every item, ``limit`` at a time, answers in the order of the items."""
    answers: dict[int, MarketRecord] = {}
    waiting = iter(enumerate(items))

    async def take() -> None:
        for index, item in waiting:
            answers[index] = await work(item)

    tasks: list[asyncio.Task[Any]] = [
        ports.tasks.spawn(take(), name=f"clob market {n}") for n in range(min(limit, len(items)))
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [answers[index] for index in range(len(items))]


def _page(value: object, items: str, where: str) -> tuple[list[Found], str | None, str]:
    """(what it holds, the next cursor, what is wrong with it)."""
    if not isinstance(value, dict) or not isinstance(value.get(items), list):
        return [], None, f"it has no list of {items}"
    held: list[Found] = []
    try:
        for one in find_markets({items: value[items]}, where):
            held.append(one)  # noqa: PERF402 - kept as far as it could be read
    except (TooDeep, RecursionError):
        return held, None, "it is nested too deep for market data"
    cursor = value.get("next_cursor")
    if cursor is not None and (not isinstance(cursor, str) or not cursor):
        return held, None, "its next_cursor is no cursor"
    return held, cursor, ""


def _chunked(wanted: Wanted) -> list[tuple[str, str, Query]]:
    """The listings of ``wanted``, with no more ids in one query than an address can hold."""
    for name in ("event_ids", "event_slugs", "market_slugs", "condition_ids"):
        ids: tuple[str, ...] = getattr(wanted, name)
        if len(ids) > MOST_IDS:
            parts = [ids[at : at + MOST_IDS] for at in range(0, len(ids), MOST_IDS)]
            return [one for part in parts for one in _chunked(replace(wanted, **_with(name, part)))]
    return wanted.queries()


def _with(name: str, value: tuple[str, ...]) -> Mapping[str, Any]:
    return {name: value}


def _is_wanted(record: MarketRecord, wanted: Wanted) -> bool:
    """The filters once more: one that the venue ignores must not widen what was asked for."""
    return wanted.active in (None, record.active) and wanted.closed in (None, record.closed)


def _report(
    listings: Sequence[Listing],
    report: ImportReport,
    confirmed: tuple[MarketRecord, ...],
    unconfirmed: tuple[MarketRecord, ...],
) -> SyncReport:
    why = [listing.why for listing in listings if listing.why]
    if report.unreadable:
        why.append(f"{len(report.unreadable)} objects could not be read")
    pages = sum(listing.pages for listing in listings)
    state = Completeness.COMPLETE
    if why:
        state = Completeness.INCOMPLETE if report.objects_seen or pages else Completeness.UNREAD
    return SyncReport(
        state=state,
        why=tuple(why),
        markets=confirmed,
        unconfirmed=unconfirmed,
        listed=frozenset(one.condition_id for one in report.markets),
        unreadable=report.unreadable,
        objects_seen=report.objects_seen,
        duplicates=report.duplicates,
        pages=pages,
    )


def _word(flag: bool) -> str:
    return "true" if flag else "false"
