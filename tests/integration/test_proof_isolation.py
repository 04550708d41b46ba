"""Histories of concurrent sessions: the ledger's have a legal order, and what is weakened on purpose is found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proof.isolation.checks import anomalies
from proof.isolation.operations import SHARE, Beginning, History, Operation, Terms
from proof.isolation.sessions import Recorder
from proof.isolation.spec import Spec
from proof.isolation.weakened import WEAKENED
from tests.support.database import empty_database
from tests.support.servers import TestServer, in_thread

MARKET = "m"
BUY = Terms("a", MARKET, 0, "BUY", 400_000, 10 * SHARE)
START = Beginning(
    "a",
    100 * SHARE,
    {(MARKET, 0): 0, (MARKET, 1): 0},
    {1: BUY},
    {("max_outcome_micros", MARKET): 25 * SHARE},
)


def test_concurrent_sessions_leave_histories_with_a_legal_order(
    database_server: TestServer, template_database: str
) -> None:
    with (
        empty_database(database_server, template_database) as database,
        Recorder(database.url) as recorder,
    ):
        histories = [recorder.record(seed) for seed in range(8)]
    assert [found for history in histories for found in anomalies(history)] == []
    operations = [one for history in histories for one in history.operations]
    kinds = {one.kind for one in operations}
    assert kinds == {"reserve", "cancel", "fill", "end", "totals", "halt", "resume", "limit"}
    beside = [
        one
        for history in histories
        for one in history.operations
        if any(
            two.begin < one.end and one.begin < two.end for two in history.operations if two != one
        )
    ]
    assert len(beside) > len(operations) / 2, "the sessions did not run beside each other"


@pytest.mark.parametrize("name", WEAKENED)
def test_what_is_weakened_on_purpose_is_found(
    name: str, database_server: TestServer, template_database: str
) -> None:
    weaken, expected = WEAKENED[name]

    async def work(url: str) -> None:
        conn = await asyncpg.connect(url)
        await weaken(conn)
        await conn.close()

    with empty_database(database_server, template_database) as database:
        in_thread(lambda: asyncio.run(work(database.url)))
        with Recorder(database.url) as recorder:
            found: set[str] = set()
            for seed in range(60):
                found |= {one.split(":")[0] for one in anomalies(recorder.record(seed))}
                if found & set(expected):
                    return
    pytest.fail(f"60 histories show nothing of it, only {found}")


# ---- histories made by hand


def reserve(
    begin: int, end: int, order_id: int, *, key: str = "", size: int = 10, **answer: Any
) -> Operation:
    terms = Terms("a", MARKET, 0, "BUY", 400_000, size * SHARE)
    told = {"status": "admitted", "order_id": order_id, "replay": False} | answer
    given = {"terms": terms, "key": key or f"key {order_id}"}
    return Operation(0, "reserve", "a", given, begin, end, told)


def refused(begin: int, end: int, code: str, size: int = 10) -> Operation:
    return reserve(begin, end, 0, key=f"{begin}", size=size, status="refused", code=code)


def totals(begin: int, end: int, open_orders: int) -> Operation:
    """What is shown where so many orders of ten shares are open."""
    spec = Spec(START)
    shown = spec.totals(spec.start)
    more = open_orders - 1
    shown["available"] -= more * 4 * SHARE
    shown[f"{MARKET} open"] += more
    shown[f"{MARKET} 0 effective"] += more * 10 * SHARE
    return Operation(1, "totals", "a", {}, begin, end, shown)


def control(kind: str, begin: int, end: int, name: str, scope: str, value: int | None) -> Operation:
    given = {"name": name, "scope": scope, "value": value}
    return Operation(2, kind, "a", given, begin, end, {"status": "ok"})


def fill(begin: int, end: int, size: int, **answer: Any) -> Operation:
    given = {"order": 1, "trade": "t", "size": size * SHARE, "price": 400_000, "status": "MATCHED"}
    told = {"status": "ok", "state": "LIVE", "replay": False} | answer
    return Operation(0, "fill", "a", given, begin, end, told)


def kinds(*operations: Operation) -> set[str]:
    found = anomalies(History(0, {"a": START}, list(operations)))
    return {one.split(":")[0] for one in found}


def test_operations_that_overlap_may_have_come_in_either_order() -> None:
    assert kinds(reserve(0, 10, 2), totals(5, 8, 1), totals(11, 12, 2)) == set()
    assert kinds(reserve(0, 10, 2), totals(5, 8, 2), totals(11, 12, 2)) == set()


def test_an_answer_that_a_later_one_contradicts_has_no_legal_order() -> None:
    assert kinds(reserve(0, 10, 2), totals(3, 5, 2), totals(6, 8, 1), totals(11, 12, 2)) == {
        "no legal order"
    }


def test_an_update_that_is_missing_at_the_end_is_lost() -> None:
    assert "lost update" in kinds(reserve(0, 5, 2), totals(11, 12, 1))


def test_two_admitted_together_over_a_cap_are_write_skew() -> None:
    wide = (reserve(0, 10, 2, size=13), reserve(1, 9, 3, size=13))
    assert {"write skew", "no legal order"} <= kinds(*wide)


def test_two_admitted_together_over_what_is_left_have_no_legal_order() -> None:
    """The cap has room for one beside the order that is live, which write skew among new ones does not see."""
    assert kinds(reserve(0, 10, 2), reserve(1, 9, 3)) == {"no legal order"}


def test_admitted_after_a_halt_had_been_answered_is_a_stale_read() -> None:
    halt = control("halt", 0, 2, "halt", MARKET, 1)
    assert "stale read" in kinds(halt, reserve(3, 4, 2))
    assert kinds(halt, reserve(1, 4, 2)) == set()


def test_refused_for_a_halt_that_had_ended_is_a_stale_read() -> None:
    ended = (control("halt", 0, 1, "halt", "a", 1), control("resume", 2, 3, "halt", "a", None))
    assert "stale read" in kinds(*ended, refused(4, 5, "HALTED"))
    assert kinds(*ended, refused(2, 5, "HALTED")) == set()


def test_admitted_after_a_lowered_limit_had_been_answered_has_no_legal_order() -> None:
    lowered = control("limit", 0, 2, "max_outcome_micros", MARKET, 15 * SHARE)
    assert "no legal order" in kinds(lowered, reserve(3, 4, 2))
    assert kinds(lowered, reserve(1, 4, 2)) == set()


def test_a_refusal_without_its_reason_has_no_legal_order() -> None:
    assert "no legal order" in kinds(refused(0, 1, "CAP_OUTCOME"))
    assert kinds(refused(0, 1, "CAP_OUTCOME", size=16)) == set()


def test_a_key_that_became_two_orders_is_told() -> None:
    twice = (reserve(0, 1, 2, key="k", size=5), reserve(2, 3, 3, key="k", size=5))
    assert "doubled key" in kinds(*twice)
    assert kinds(reserve(0, 1, 2, key="k"), reserve(2, 3, 2, key="k", replay=True)) == set()


def test_a_fill_that_is_new_twice_has_no_legal_order() -> None:
    assert "no legal order" in kinds(fill(0, 1, 4), fill(2, 3, 4))
    assert kinds(fill(0, 1, 4), fill(2, 3, 4, replay=True)) == set()


def test_an_error_is_told() -> None:
    deadlock = reserve(0, 1, 2, status="error", sqlstate="40P01")
    assert kinds(deadlock) == {"unexpected answer"}


def test_the_part_reports_what_it_did(tmp_path: Path) -> None:
    from proof.isolation import part
    from proof.parts import Request

    said: list[str] = []
    share = part.run(Request(1, 2.0, True, tmp_path, report=said.append))
    assert share.part == "isolation"
    assert list(share.violations) == []
    assert share.figures["histories"] >= 1
    assert share.figures["operations"] >= 24
    assert sorted(share.sets["weakened_found"]) == sorted(WEAKENED)
