"""The whole adapter on bent answers: several requests for one question, pages, streams; nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from app.clock import AsyncioTasks, Ports, SeededRng
from app.markets.books.feed import BookFeed
from app.venue.interface import (
    Absent,
    CancelAccepted,
    Found,
    Holdings,
    OrderEvent,
    PlaceRequest,
    StreamLost,
    StreamOpened,
    Unread,
)
from app.venue.polymarket.answers import FeeTerms
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.sockets import SocketLost
from app.venue.polymarket.transport import Transport
from app.venue.polymarket.venue import PolymarketVenue
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
from proof.fuzzing.model import Check, Random, Surroundings, Target, Violated, require
from proof.fuzzing.targets import placing
from proof.fuzzing.targets.frames import ASKS, BIDS, FOLLOWED, good_book, make_market, make_user
from tests.support.channel import Channel, Lost
from tests.support.polymarket import FakeConnect
from tests.support.stepping import HastyClock, SteppingClock, ports_on

_KEY: Final = ApiCredentials(docs.OWNER, "c2VjcmV0LWNhbmFyeQ==", "passphrase-canary")
_BODY: Final = b'{"order":{},"owner":"","orderType":"GTC"}'
_MOST_REQUESTS: Final = 1_700


class Scripted:
    """A transport that answers what it is told to, and after the last answer that one again."""

    def __init__(self) -> None:
        self.answers: list[Exchange] = []
        self.asked: list[Endpoint] = []

    async def request(self, endpoint: Endpoint, **_: object) -> Exchange:
        given = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(endpoint)
        require(
            len(self.asked) <= _MOST_REQUESTS, "hang", "one question became requests without end"
        )
        return Exchange(
            endpoint, given.phase, given.status, given.headers, given.body, given.problem
        )

    @property
    def used(self) -> list[Exchange]:
        """The answers that were read, in order."""
        return [self.answers[min(at, len(self.answers) - 1)] for at in range(len(self.asked))]


class Purse:
    """A budget that never says no."""

    def __init__(self) -> None:
        self.paused_ms: list[int] = []

    async def spend(self, *_: object) -> int:
        return 0

    async def pause(self, _signer: str, _kind: str, for_ms: int) -> None:
        self.paused_ms.append(for_ms)

    async def owe(self, _signer: str, _kind: str, count: int) -> None:
        whole(count, 0, 10**6, "what is owed")


class Rows:
    """What the ledger knows."""

    async def signed_sizes(self, _account: str, ids: Sequence[str]) -> Mapping[str, int]:
        return {one: docs.SIZE_MICROS for one in ids if one in IDS}

    async def fee_terms(self, tokens: Sequence[str]) -> Mapping[str, FeeTerms]:
        return {one: FeeTerms(70_000) for one in tokens if one == docs.TOKEN}


def venue_on(scripted: Scripted, connect: Any, ports: Ports, budget: Purse) -> PolymarketVenue:
    transport = cast(Transport, scripted)
    venue = PolymarketVenue(
        transport, transport, ports, budget=cast(Any, budget), lookup=Rows(), connect=connect,
        user_channel_url="wss://example.test/ws/user", noticed=lambda _account, _sign: None,
    )  # fmt: skip
    venue.add_account(
        "main", docs.WALLET, _KEY, maker=docs.WALLET, signature_type=0, owners=frozenset()
    )
    return venue


@dataclass(frozen=True, slots=True)
class Question:
    """One call of the adapter and the answers that it meets."""

    call: str
    answers: tuple[Exchange, ...]
    ids: tuple[str, ...] = (OURS,)


# --- inputs ---------------------------------------------------------------------------------------


def make(rng: Random) -> Question:
    call = rng.choice(
        (
            "place",
            "cancel",
            "order",
            "order",
            "open_orders",
            "open_orders",
            "trades",
            "trades",
            "holdings",
        )
    )
    if call == "place":
        exchange, ids = placing.make_single(rng) if rng.random() < 0.5 else placing.make_batch(rng)
        return Question(call, (exchange,), ids)
    if call == "cancel":
        body = {"canceled": [OURS], "not_canceled": {}}
        return Question(
            rng.choice(("cancel", "cancel_market", "cancel_all")),
            (bent_exchange(rng, Endpoint.DELETE_ORDER, body),),
        )
    if call == "order":
        first = bent_exchange(
            rng,
            Endpoint.GET_ORDER,
            rng.choice((None, None, docs.order(rng))),
            changes=rng.choice((0, 0, 0, 1)),
        )
        return Question(call, (first, *_pages(rng, lambda: docs.order(rng))))
    if call == "holdings":
        return Question(
            call,
            tuple(
                bent_exchange(
                    rng, Endpoint.GET_BALANCE, docs.balance(rng), changes=rng.choice((0, 0, 1))
                )
                for _ in range(3)
            ),
        )
    row = docs.order if call == "open_orders" else docs.trade
    return Question(call, tuple(_pages(rng, lambda: row(rng))))


def _pages(rng: Random, row: Any) -> list[Exchange]:
    """One reading of a list, or several of several pages, as one that moves needs."""
    cursors = rng.choice(
        (["LTE="], ["LTE="], ["MTAw", "LTE="], ["MTAw", "MjAw", None], ["MTAw", "MTAw"], ["MA=="])
    )
    once = []
    for cursor in cursors:
        page = docs.page([row() for _ in range(rng.choice((0, 1, 2)))], cursor)
        many = rng.choice((0, 0, 0, 0, 1, 2))
        once.append(bent_exchange(rng, Endpoint.GET_ORDERS, page, changes=many))
    if len(cursors) == 1 or rng.random() < 0.2:
        return once
    again = list(once)
    if rng.random() < 0.3:
        at = rng.randrange(len(again))
        again[at] = bent_exchange(
            rng, Endpoint.GET_ORDERS, docs.page([row()], cursors[at]), changes=0
        )
    return once + again + (once if rng.random() < 0.5 else again)


# --- what must hold -------------------------------------------------------------------------------


@contextmanager
def opened(_: Surroundings) -> Iterator[Check]:
    loop = asyncio.new_event_loop()

    def check(given: Question) -> str:
        scripted, budget = Scripted(), Purse()
        scripted.answers = list(given.answers)
        venue = venue_on(scripted, FakeConnect(), ports_on(HastyClock()), budget)
        outcome = loop.run_until_complete(_ask(venue, given, scripted))
        for for_ms in budget.paused_ms:
            whole(for_ms, 0, 3_600_000, "a pause")
        return f"{given.call} {outcome}"

    try:
        yield check
    finally:
        loop.close()


async def _ask(venue: PolymarketVenue, given: Question, scripted: Scripted) -> str:
    match given.call:
        case "place":
            return await _place(venue, given, scripted)
        case "cancel" | "cancel_market" | "cancel_all":
            return await _cancel(venue, given, scripted)
        case "order":
            return await _order(venue, scripted)
        case "holdings":
            return await _holdings(venue, scripted)
        case _:
            return await _list(venue, given.call, scripted)


async def _place(venue: PolymarketVenue, given: Question, scripted: Scripted) -> str:
    wanted = [PlaceRequest(one, _BODY, docs.OWNER) for one in given.ids]
    outcomes = list(await venue.place("main", wanted))
    require(
        len(scripted.asked) == 1, "misread", f"one placement became {len(scripted.asked)} requests"
    )
    told = given.answers[0]
    endpoint = Endpoint.POST_ORDER if len(given.ids) == 1 else Endpoint.POST_ORDERS
    exchange = Exchange(endpoint, told.phase, told.status, told.headers, told.body, told.problem)
    placing.judge(exchange, given.ids, outcomes)
    return "+".join(type(one).__name__ for one in outcomes)


async def _cancel(venue: PolymarketVenue, given: Question, scripted: Scripted) -> str:
    if given.call == "cancel":
        (outcome,) = await venue.cancel("main", [OURS])
    elif given.call == "cancel_all":
        (outcome,) = await venue.cancel_all("main", [OURS])
    else:
        (outcome,) = await venue.cancel_market("main", docs.CONDITION, [OURS])
    require(
        len(scripted.asked) == 1, "misread", f"one cancel became {len(scripted.asked)} requests"
    )
    if isinstance(outcome, CancelAccepted):
        try:
            named = [str(one).lower() for one in body_of(given.answers[0])["canceled"]]
        except (Nonsense, KeyError, TypeError) as error:
            raise Violated("misread", "cancelled by an answer that says nothing") from error
        require(OURS in named, "misread", "cancelled, and the list does not name it")
    return type(outcome).__name__


async def _order(venue: PolymarketVenue, scripted: Scripted) -> str:
    answer = await venue.order("main", OURS)
    if isinstance(answer, Absent):
        used = scripted.used
        require(len(used) >= 2, "misread", "absent after one look")
        first, pages = used[0], [_page(one) for one in used[1:]]
        clean = first.phase is Phase.DONE and (
            first.status == 404 or first.body.strip(b" \t\r\n") == b"null"
        )
        require(clean, "misread", "absent by an answer that is none")
        require(
            all(one is not None for one in pages),
            "misread",
            "absent by a list that was not read whole",
        )
        named = {
            str(row.get("id")).strip().lower()
            for page in pages
            if page
            for row in _readings(pages)[-1]
        }
        require(OURS not in named, "misread", "absent, and the list shows it")
        return "Absent"
    if isinstance(answer, Found):
        require(answer.value.venue_order_id == OURS, "misread", "another order was taken for ours")
        return "Found"
    printable_enough(answer.reason, "the reason of an unread look-up")
    return "Unread"


async def _list(venue: PolymarketVenue, call: str, scripted: Scripted) -> str:
    answer: Any = await (
        venue.open_orders("main") if call == "open_orders" else venue.trades("main", 0)
    )
    if isinstance(answer, Unread):
        printable_enough(answer.reason, "the reason of an unread list")
        return "Unread"
    pages = [_page(one) for one in scripted.used]
    require(
        all(page is not None for page in pages),
        "misread",
        "a list is complete of which a page was not read",
    )
    readings = _readings(pages)
    if call == "open_orders":
        told = [{str(row.get("id")).strip().lower() for row in one} for one in readings]
        require(
            {one.venue_order_id for one in answer.value} == told[-1],
            "misread",
            "the list has other orders than were told",
        )
        if _pages_of_last(pages) > 1:
            require(
                len(told) > 1 and told[-1] == told[-2], "misread", "a list that moved was believed"
            )
    else:
        ids = {str(row.get("id")).strip() for row in readings[-1]}
        require(
            {one.trade_id for one in answer.value} <= ids, "misread", "trades that were not told"
        )
    return "Found"


def _pages_of_last(pages: list[dict[str, Any] | None]) -> int:
    """How many pages the last reading had. One page is one answer; several must be read twice alike."""
    ends = [
        at
        for at, page in enumerate(pages)
        if page and str(page["next_cursor"]).strip() in ("None", "LTE=")
    ]
    return len(pages) - (ends[-2] + 1 if len(ends) > 1 else 0)


def _page(exchange: Exchange) -> dict[str, Any] | None:
    """A page that is whole and says how it goes on; else None."""
    if exchange.status != 200:
        return None
    try:
        body = body_of(exchange)
    except Nonsense:
        return None
    if (
        not isinstance(body, dict)
        or "next_cursor" not in body
        or not isinstance(body.get("data"), list)
    ):
        return None
    return body if all(isinstance(row, dict) for row in body["data"]) else None


def _readings(pages: list[dict[str, Any] | None]) -> list[list[dict[str, Any]]]:
    """The rows of each reading from the first page to the end."""
    found: list[list[dict[str, Any]]] = [[]]
    ended = False
    for page in pages:
        assert page is not None
        if ended:
            found.append([])
        found[-1] += page["data"]
        cursor = page["next_cursor"]
        ended = cursor is None or str(cursor).strip() == "LTE="
    require(ended, "misread", "a list was believed before its end")
    return found


async def _holdings(venue: PolymarketVenue, scripted: Scripted) -> str:
    answer = await venue.holdings("main", [docs.TOKEN, docs.OTHER_TOKEN])
    require(answer is not None, "misread", "the venue has balances")
    if isinstance(answer, Unread):
        printable_enough(answer.reason, "the reason of unread holdings")
        return "Unread"
    assert isinstance(answer, Found)
    assert isinstance(answer.value, Holdings)
    require(len(scripted.asked) == 3, "misread", "holdings without a look at each asset")
    for amount in (answer.value.collateral_micros, *answer.value.tokens_micros.values()):
        whole(amount, 0, 10**18, "a holding")
    return "Found"


# --- streams --------------------------------------------------------------------------------------

_GOOD: Final = {
    "event_type": "order", "type": "PLACEMENT", "id": OURS, "status": "LIVE", "asset_id": docs.TOKEN,
    "market": docs.CONDITION,
    "side": "BUY", "price": "0.45", "original_size": "10", "size_matched": "0", "owner": docs.OWNER,
    "order_owner": docs.OWNER,
    "timestamp": "1794909699999",
}  # fmt: skip
GOOD_FRAME: Final = json.dumps(_GOOD)


def make_user_stream(rng: Random) -> tuple[str, ...]:
    return tuple(make_user(rng) for _ in range(rng.choice((1, 2, 4))))


@contextmanager
def user_stream(_: Surroundings) -> Iterator[Check]:
    loop = asyncio.new_event_loop()

    async def follow(given: tuple[str, ...]) -> str:
        scripted = Scripted()
        connect = FakeConnect(*given, GOOD_FRAME, SocketLost("the end"))
        venue = venue_on(
            scripted, connect, Ports(HastyOnRead(), SeededRng(1), AsyncioTasks()), Purse()
        )
        told: list[object] = []
        try:
            async for event in venue.events("main"):
                told.append(event)  # noqa: PERF401 - what came before it broke counts
        except StreamLost:
            pass
        require(
            isinstance(told[0], StreamOpened), "stuck", "the stream does not say that it begins"
        )
        last = told[-1]
        good = (
            isinstance(last, OrderEvent)
            and last.raw == GOOD_FRAME
            and last.order.venue_order_id == OURS
        )
        require(good, "stuck", "a good frame behind the others was not told")
        return f"{len(told) - 2} events" if len(told) < 6 else "more events"

    try:
        yield lambda given: loop.run_until_complete(follow(given))
    finally:
        loop.close()


class HastyOnRead(SteppingClock):
    """A clock that stands still: nobody is silent for too long and nobody is recycled."""


@contextmanager
def market_stream(_: Surroundings) -> Iterator[Check]:
    loop = asyncio.new_event_loop()

    async def follow(texts: tuple[str, ...]) -> str:
        clock, channel = SteppingClock(), Channel()
        feed = BookFeed(
            "wss://example.test/ws/market", channel.connect, ports_on(clock), lost=(Lost,)
        )
        feed.follow([FOLLOWED])
        task = AsyncioTasks().spawn(feed.run(), name="books")
        try:
            await clock.advance(0.1)
            for text in texts:
                channel.now.put(text)
            await clock.settle()
            channel.now.cut()
            await clock.advance(1)
            channel.now.say([good_book()])
            await clock.settle()
            if task.done():
                task.result()
            book = feed.book(docs.TOKEN)
            good = book is not None and (dict(book.bids), dict(book.asks), book.suspect) == (
                BIDS,
                ASKS,
                "",
            )
            require(
                good and not task.done(),
                "stuck",
                "after a new connection the feed does not follow the book",
            )
            return f"{min(feed.counters.unreadable, 3)} unread"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    try:
        yield lambda given: loop.run_until_complete(follow(given.texts))
    finally:
        loop.close()


TARGETS: Final = (
    Target("venue", make, opened, weight=2.0),
    Target("user-stream", make_user_stream, user_stream, weight=1.0),
    Target("market-stream", make_market, market_stream, weight=0.8),
)
