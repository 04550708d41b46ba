"""How long a market is held by the holder's own clock: reckoned from the question, as the ledger does at the latest."""

from __future__ import annotations

from typing import Any, cast

from app.gateway.mutex import Mutexes
from app.ledger.calls import LedgerCalls
from tests.support.scripted import Desk
from tests.support.worker import until

TTL_MS = 1_000


def slow(at: Desk, answer: Any) -> Any:
    """An answer that is 900 ms on its way."""

    def given(_arguments: object) -> Any:
        at.clock.advance(900)
        return answer

    return given


def held(at: Desk) -> Mutexes:
    return Mutexes(cast(LedgerCalls, at.calls), "main", at.context.ports, ttl_ms=TTL_MS)


async def test_an_answer_that_was_long_on_its_way_makes_no_hold_longer() -> None:
    at = Desk()
    at.calls.answers |= {
        "take_mutex": slow(at, {"status": "ok", "term": 3}),
        "release_mutex": {"again": False},
    }
    mutexes = held(at)
    lease = await mutexes.take("m1", remember=False)
    assert lease is not None
    at.clock.advance(99)
    assert not mutexes.is_lost(lease)
    at.clock.advance(1)
    assert mutexes.is_lost(lease)
    await mutexes.release(lease)


async def test_a_renewal_that_was_long_on_its_way_makes_no_hold_longer() -> None:
    at = Desk()
    answers = [True, False]

    def renewed(arguments: object) -> Any:
        answer = answers.pop(0)
        return slow(at, answer)(arguments) if answer else answer

    at.calls.answers |= {
        "take_mutex": {"status": "ok", "term": 3},
        "renew_mutex": renewed,
    }
    mutexes = held(at)
    lease = await mutexes.take("m1", remember=False)
    assert lease is not None
    asked_ns = at.clock.now_ns
    await until(lambda: lease.ended, "the second renewal was refused", within_s=5)
    assert lease.valid_until_ns == asked_ns + TTL_MS * 1_000_000
    assert mutexes.is_lost(lease)
