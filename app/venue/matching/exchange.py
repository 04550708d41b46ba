"""The core with its state in memory: for the simulator and for tests.

Still no clock, no chance and no I/O.
"""

from __future__ import annotations

from app.venue.matching.engine import cancel, place, step
from app.venue.matching.flow import FillModel, SimpleCrossing
from app.venue.matching.types import Answer, AnswerKind, Book, Event, Order, Outcome, Rules


class Exchange:
    """Several books and the ids they have processed. Not for concurrent use."""

    def __init__(self, rules: Rules | None = None, model: FillModel | None = None) -> None:
        self.rules = rules or Rules()
        self.model: FillModel = model or SimpleCrossing()
        self.books: dict[str, Book] = {}
        self.processed: set[str] = set()
        self._book_of: dict[str, str] = {}

    def add(self, book: Book) -> None:
        self.books[book.token_id] = book

    def place(self, order: Order, now_ms: int) -> tuple[Answer, tuple[Event, ...]]:
        """See `engine.place`. A token without a book is an early refusal."""
        book = self.books.get(order.token_id)
        seen = order.order_id in self.processed
        if book is None:
            text = f"the orderbook {order.token_id} does not exist"
            return Answer(AnswerKind.REFUSED, code="ORDERBOOK_MISSING", text=text), ()
        outcome = place(book, order, now_ms, self.rules, seen=seen)
        answer = self._keep(outcome)
        if answer.burns_id:
            self.processed.add(order.order_id)
            self._book_of[order.order_id] = order.token_id
        return answer, outcome.events

    def cancel(self, account: str, order_id: str, now_ms: int) -> tuple[Answer, tuple[Event, ...]]:
        """See `engine.cancel`."""
        token = self._book_of.get(order_id)
        if token is None:
            text = "order can't be found - already canceled or matched"
            return Answer(AnswerKind.REFUSED, code="NOT_CANCELED", text=text), ()
        outcome = cancel(self.books[token], account, order_id, now_ms, self.rules)
        return self._keep(outcome), outcome.events

    def step(self, now_ms: int) -> tuple[Event, ...]:
        """Every book takes one step, in the order of token ids."""
        events: list[Event] = []
        for token in sorted(self.books):
            outcome = step(self.books[token], now_ms, self.rules, self.model)
            self.books[token] = outcome.book
            events += outcome.events
        return tuple(events)

    def _keep(self, outcome: Outcome) -> Answer:
        assert outcome.answer is not None
        self.books[outcome.book.token_id] = outcome.book
        return outcome.answer
