"""The paper venue's engine room: each call one transaction over locked books, the core in the
middle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.clock import Ports
from app.money import MICROS
from app.venue.matching import (
    Answer,
    AnswerKind,
    FillModel,
    Level,
    Rules,
    SimpleCrossing,
    cancel,
    made_up_mid,
    new_book,
    place,
    step,
)
from app.venue.paper.body import HashBody, Received, read_body
from app.venue.paper.statements import SQL, Connection, Pool
from app.venue.paper.store import Session, load, save

_NOT_FOUND = Answer(
    AnswerKind.REFUSED,
    code="NOT_CANCELED",
    text="order can't be found - already canceled or matched",
)


@dataclass(frozen=True, slots=True)
class PaperMarket:
    """What the venue must know of a market: its tokens in the market's order, its terms."""

    condition_id: str
    token_ids: tuple[str, ...]
    tick_micros: int
    min_size_micros: int
    fee_rate_ppm: int = 0


FindMarket = Callable[[str], Awaitable[PaperMarket | None]]
"""From a token id to its market, for tokens that nobody has registered."""


class Desk:
    """Locks books, lets the core decide, writes what it decided. Knows nothing of misbehaviour."""

    def __init__(
        self,
        pool: Pool,
        ports: Ports,
        seed: int,
        rules: Rules,
        model: FillModel | None,
        find_market: FindMarket | None,
    ) -> None:
        self._pool = pool
        self._clock = ports.clock
        self._seed = seed
        self._find = find_market
        self._model: FillModel = model or SimpleCrossing()
        self.rules = rules

    # --- orders --------------------------------------------------------------------------------

    async def place(self, received: Sequence[Received]) -> list[Answer]:
        """Process these requests in one commit of the venue's own; an answer each, in order."""
        await self._find_markets(received)
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            return await self._place(conn, received)

    async def _place(self, conn: Connection, received: Sequence[Received]) -> list[Answer]:
        orders = [one.order for one in received if one.order is not None]
        tokens = sorted({order.token_id for order in orders})
        session = await load(conn, await conn.fetch(SQL["lock_books"], tokens))
        rows = await conn.fetch(SQL["known_orders"], [order.order_id for order in orders])
        known = {row["venue_order_id"] for row in rows}
        answers = [self._place_one(session, known, one) for one in received]
        await save(conn, session, self.rules)
        return answers

    def _place_one(self, session: Session, known: set[str], one: Received) -> Answer:
        if one.order is None:
            return Answer(AnswerKind.REFUSED, code="INVALID_PAYLOAD", text=one.refusal)
        book = session.books.get(one.order.token_id)
        if book is None:
            text = f"the orderbook {one.order.token_id} does not exist"
            return Answer(AnswerKind.REFUSED, code="ORDERBOOK_MISSING", text=text)
        now = self._clock.now_ms()
        outcome = place(book, one.order, now, self.rules, seen=one.order_id in known)
        session.apply(outcome)
        answer = outcome.answer
        assert answer is not None
        if answer.burns_id:
            known.add(one.order_id)
            session.arrived[one.order_id] = one
        elif answer.kind is AnswerKind.DUPLICATED:
            session.repeats[one.order_id] += 1
        return answer

    async def cancel(self, account: str, order_ids: Sequence[str]) -> list[Answer]:
        """Take live orders of this account off their books, in one commit; an answer each, in
        order.
        """
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            rows = await conn.fetch(SQL["tokens_of_orders"], list(order_ids))
            token_of = {row["venue_order_id"]: row["token_id"] for row in rows}
            tokens = sorted(set(token_of.values()))
            session = await load(conn, await conn.fetch(SQL["lock_books"], tokens))
            answers = []
            for order_id in order_ids:
                book = session.books.get(token_of.get(order_id, ""))
                if book is None:
                    answers.append(_NOT_FOUND)
                    continue
                outcome = cancel(book, account, order_id, self._clock.now_ms(), self.rules)
                session.apply(outcome)
                answers.append(outcome.answer or _NOT_FOUND)
            await save(conn, session, self.rules)
        return answers

    # --- time ----------------------------------------------------------------------------------

    async def step(self) -> int:
        """One step of every book that is due and that nobody else holds; how many there were."""
        now = self._clock.now_ms()
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            session = await load(conn, await conn.fetch(SQL["lock_due_books"], now))
            for book in list(session.books.values()):
                session.apply(step(book, now, self.rules, self._model))
            await save(conn, session, self.rules)
        return len(session.books)

    async def arrive_later(self, account: str, request: Received, late_ms: int) -> None:
        """Keep a request that is still under way. Its market is opened now: nobody asks for it later."""
        await self._find_markets([request])
        due = self._clock.now_ms() + late_ms
        async with self._pool.acquire() as conn:
            await conn.execute(SQL["insert_arrival"], account, request.body, due)

    async def deliver(self, hash_body: HashBody) -> int:
        """Let late requests reach the engine; nobody hears the answers. Returns how many there
        were.
        """
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            rows = await conn.fetch(SQL["take_arrivals"], self._clock.now_ms())
            late = [
                read_body(row["account"], bytes(row["body"]), hash_body)
                for row in sorted(rows, key=lambda row: int(row["id"]))
            ]
            if late:
                await self._place(conn, late)
        return len(late)

    # --- markets -------------------------------------------------------------------------------

    async def _find_markets(self, received: Sequence[Received]) -> None:
        await self.open_books({one.order.token_id for one in received if one.order is not None})

    async def open_books(self, wanted: Iterable[str]) -> None:
        """Make the books of tokens that nobody has registered."""
        if self._find is None:
            return
        tokens = sorted(wanted)
        async with self._pool.acquire() as conn:
            missing = await conn.fetch(SQL["missing_books"], tokens)
        for row in missing:
            market = await self._find(row["token_id"])
            if market is not None:
                await self.register(market)

    async def register(self, market: PaperMarket) -> None:
        """Make the market's books where they are missing; take over terms that have changed."""
        mid = made_up_mid(self._seed, market.condition_id, market.tick_micros)
        mids = {token: MICROS - mid if i else mid for i, token in enumerate(market.token_ids)}
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            for token in sorted(mids):
                book = new_book(
                    self._seed,
                    token,
                    market.condition_id,
                    market.tick_micros,
                    market.min_size_micros,
                    fee_rate_ppm=market.fee_rate_ppm,
                    mid_micros=mids[token],
                )
                row = await conn.fetchrow(
                    SQL["upsert_book"],
                    token,
                    book.condition_id,
                    book.tick_micros,
                    book.min_size_micros,
                    book.fee_rate_ppm,
                    book.seed,
                    book.seq,
                )
                if row is not None and row["made"]:
                    await _insert_levels(conn, token, book.levels, 0)

    async def load_books(self, books: Mapping[str, tuple[Level, ...]]) -> list[str]:
        """Replace the outside liquidity of known tokens; returns the tokens that have no book."""
        async with (
            self._pool.acquire() as conn,
            conn.transaction(isolation="read_committed"),
        ):
            rows = await conn.fetch(SQL["lock_books"], sorted(books))
            found = [row["token_id"] for row in rows]
            for token in found:
                levels = books[token]
                await conn.execute(SQL["delete_levels"], token)
                row = await conn.fetchrow(SQL["reset_book"], token, len(levels) + 1)
                await _insert_levels(conn, token, levels, row["seq"] - len(levels))
        return sorted(set(books) - set(found))


async def _insert_levels(
    conn: Connection, token: str, levels: Sequence[Level], first_seq: int
) -> None:
    if levels:
        await conn.execute(
            SQL["insert_levels"],
            [token] * len(levels),
            [lv.side for lv in levels],
            [lv.base_price_micros for lv in levels],
            [lv.base_size_micros for lv in levels],
            [lv.size_micros for lv in levels],
            [first_seq + i for i in range(len(levels))],
        )
