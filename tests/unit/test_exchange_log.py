"""Requests on their way into the database: how much waits for it, and what it does not take."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app.clock import Ports
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import LedgerCalls
from app.observe import logs
from app.venue.polymarket.limits import STANDARD
from app.venue.polymarket.transport import Sent
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from workers.worker import venue_state
from workers.worker.venue_state import ExchangeLog, SharedBudget

MEGABYTE = 1024 * 1024


class Database:
    """Takes what it is given, unless it is away or a record is not to its taste."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.old = [5_000, 5_000, 3, 0]
        self.away = False

    async def value(self, function: str, *arguments: Any) -> Any:
        if self.away:
            raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "away")
        if function == "prune_exchanges":
            return self.old.pop(0)
        [items] = arguments
        self.sizes.append(len(items))
        if any(one["path"] == "/bad" for one in items):
            raise BadInput(Code.BAD_REQUEST, "the database refused a value")
        self.taken += items
        return len(items)


def log_over(database: Database) -> ExchangeLog:
    calls = cast(LedgerCalls, database)
    return ExchangeLog(calls, Ports.system().clock, logs.get_logger("test"), "incarnation", "main")


def note(log: ExchangeLog, path: str = "/x", body: bytes = b"", sent: bytes = b"") -> None:
    exchange = Exchange(Endpoint.GET_TRADES, Phase.DONE, 200, {}, body)
    log.note(exchange, Sent("main", "GET", path, "", sent))


async def write_all(log: ExchangeLog) -> None:
    while await log.one_pass():
        pass


async def test_of_a_long_answer_only_what_is_kept_waits() -> None:
    database = Database()
    log = log_over(database)
    note(log, body=b"x" * 4 * MEGABYTE, sent="é".encode() * MEGABYTE)
    await write_all(log)
    [one] = database.taken
    assert (len(one["answer"]), len(one["request"])) == (16_384, 16_384)


async def test_what_waits_for_a_database_that_is_away_is_bounded_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_state, "MOST_WAITING_CHARS", 10 * 16_384)
    database = Database()
    log = log_over(database)
    database.away = True
    for number in range(25):
        note(log, path=f"/{number}", body=b"x" * MEGABYTE)
        with pytest.raises(DatabaseProblem):
            await log.one_pass()
    database.away = False
    await write_all(log)
    assert [one["path"] for one in database.taken] == [f"/{number}" for number in range(15, 25)]


async def test_what_was_written_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue_state, "MOST_WAITING_CHARS", 3 * 16_384)
    database = Database()
    log = log_over(database)
    for number in range(9):
        note(log, path=f"/{number}", body=b"x" * MEGABYTE)
        if number % 3 == 2:
            await write_all(log)
    assert len(database.taken) == 9


async def test_one_record_that_the_database_refuses_holds_up_none_of_the_rest() -> None:
    database = Database()
    log = log_over(database)
    for number in range(20):
        note(log, path="/bad" if number == 13 else f"/{number}")
    await write_all(log)
    assert sorted(one["path"] for one in database.taken) == sorted(
        f"/{number}" for number in range(20) if number != 13
    )
    for number in range(20):
        note(log, path=f"/again {number}")
    await write_all(log)
    assert len(database.taken) == 39


async def test_what_the_database_would_not_take_at_once_is_tried_in_smaller_parts() -> None:
    database = Database()
    log = log_over(database)
    await log.one_pass()
    for number in range(100):
        note(log, path=f"/{number}")
    database.away = True
    for _ in range(3):
        with pytest.raises(DatabaseProblem):
            await log.one_pass()
    database.away = False
    await write_all(log)
    assert database.sizes == [12, 88]
    assert len(database.taken) == 100


async def test_what_is_too_old_is_deleted_in_parts_until_none_is_left() -> None:
    database = Database()
    await log_over(database).one_pass()
    assert database.old == []


@pytest.mark.parametrize(("kind", "waits"), [("orders", True), ("cancels", False)])
async def test_a_budget_that_cannot_be_asked_for_puts_orders_off_and_no_cancel(
    kind: Any, waits: bool
) -> None:
    """The attempt is open by then: an error would leave the fate of an order open that was never sent."""
    database = Database()
    database.away = True
    budget = SharedBudget(cast(LedgerCalls, database))
    assert (await budget.spend("0x1", kind, 1, STANDARD) > 0) is waits
    await budget.pause("0x1", kind, 1_000)
