"""The venue's condition as the ledger keeps it: budgets, pulses, modes, what no stream told, exchanges, old fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest

from app.db.connect import Pool
from app.ledger.calls import LedgerCalls
from app.reconcile.holdings import Holding, compare_holdings
from tests.support.life import SHARE, Life, market_row
from workers.worker.cancels import BY_ID, EVERYTHING, _ways

SIGNER = "0x" + "1" * 40
HOUR_MS = 3_600_000


class OneConnection:
    """A pool of the one connection of a test."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        yield self._conn


async def account_id(life: Life) -> int:
    found: int = await life.conn.fetchval(
        "SELECT account_id FROM ledger.account WHERE name = $1", life.account
    )
    return found


async def gate(life: Life) -> str | None:
    found: str | None = await life.conn.fetchval(
        "SELECT ledger._gate($1, false)", await account_id(life)
    )
    return found


async def back(life: Life, ms: int) -> None:
    await life.clock.set(life.clock.now - timedelta(milliseconds=ms))


# --- budgets --------------------------------------------------------------------------------------


async def cancels_wait_ms(life: Life, count: int = 1) -> int:
    waited: int = await life.call("spend", SIGNER, "cancels", count, 80, 120)
    return waited


async def test_a_clock_that_is_set_back_does_not_empty_the_budget_for_cancels(life: Life) -> None:
    assert await cancels_wait_ms(life, 120) == 0
    await back(life, HOUR_MS)
    await cancels_wait_ms(life)
    await life.clock.advance(1_000)
    assert await cancels_wait_ms(life) == 0


async def test_a_pause_from_before_a_clock_that_was_set_back_is_over(life: Life) -> None:
    await life.call("pause_budget", SIGNER, "cancels", 1_000)
    assert await cancels_wait_ms(life) == 1_000
    await back(life, HOUR_MS)
    await cancels_wait_ms(life)
    await life.clock.advance(1_000)
    assert await cancels_wait_ms(life) == 0


async def test_a_pause_that_names_no_time_does_not_shorten_one_that_did(life: Life) -> None:
    await life.call("pause_budget", SIGNER, "orders", 60_000)
    await life.call("pause_budget", SIGNER, "orders", 1_000)
    await life.clock.advance(30_000)
    assert await life.call("spend", SIGNER, "orders", 1, 40, 60) == 30_000


async def test_a_pause_of_the_budget_is_shown_as_a_condition_until_it_is_over(life: Life) -> None:
    shown = "SELECT mode, gates FROM audit.venue WHERE standing"
    await life.call("pause_budget", SIGNER, "orders", 5_000)
    assert [tuple(row) for row in await life.conn.fetch(shown)] == [("RATE_LIMITED", "placements")]
    await life.clock.advance(5_000)
    assert await life.conn.fetch(shown) == []


# --- pulses ---------------------------------------------------------------------------------------


async def beat(life: Life, *, age_ms: int = 0, problem: str | None = None, **more: Any) -> Any:
    given = (life.account, more.get("kind", "stream"), 1, None, age_ms, problem)
    return await life.call("beat_pulse", *given, more.get("since_us"))


async def required(life: Life, *kinds: str) -> int:
    at_us = 0
    for kind in kinds:
        await life.call("require_pulse", life.account, kind, True, 7_000)
        at_us = (await life.call("take_pulse", life.account, kind, 1))["at_us"]
        await beat(life, kind=kind)
    return at_us


@pytest.mark.parametrize("kind", ["stream", "heartbeat"])
async def test_a_pulse_from_before_a_clock_that_was_set_back_opens_no_gate(
    life: Life, kind: str
) -> None:
    await required(life, kind)
    assert await gate(life) is None
    await back(life, HOUR_MS)
    lost = {"stream": "BLIND_STREAM", "heartbeat": "HEARTBEAT_LOST"}[kind]
    assert await gate(life) == lost
    await beat(life, kind=kind, problem="refused")
    await life.clock.advance(60_000)
    assert await gate(life) == lost
    await beat(life, kind=kind)
    assert await gate(life) is None


async def test_a_pulse_that_stood_still_on_its_way_is_as_old_as_it_says(life: Life) -> None:
    """It left with an age of nothing and arrived a minute later."""
    at_us = await required(life, "stream")
    await life.clock.advance(60_000)
    assert await gate(life) == "BLIND_STREAM"
    answer = await beat(life, age_ms=0, since_us=at_us)
    assert answer["mine"]
    assert await gate(life) == "BLIND_STREAM"
    await beat(life, age_ms=0, since_us=answer["at_us"])
    assert await gate(life) is None


@pytest.mark.parametrize("chain", ["[abc", "{}", "{", '"', "1"])
async def test_a_chain_is_taken_up_under_whatever_id_the_venue_gave(life: Life, chain: str) -> None:
    await required(life, "heartbeat")
    await life.call("beat_pulse", life.account, "heartbeat", 1, chain, 0, None)
    calls = LedgerCalls(cast(Pool, OneConnection(life.conn)))
    taken = await calls.value("take_pulse", life.account, "heartbeat", 2)
    assert taken["chain_id"] == chain


async def test_a_time_reckoned_from_before_a_clock_that_was_set_back_makes_no_pulse_younger(
    life: Life,
) -> None:
    at_us = await required(life, "stream")
    await back(life, HOUR_MS)
    await beat(life, age_ms=6_000, since_us=at_us)
    assert await gate(life) is None
    await life.clock.advance(1_001)
    assert await gate(life) == "BLIND_STREAM"


async def test_a_worker_without_a_heartbeat_does_not_take_the_condition_from_one_that_keeps_it(
    life: Life,
) -> None:
    await required(life, "heartbeat")
    await life.call("require_pulse", life.account, "heartbeat", False, 7_000)
    await life.clock.advance(8_000)
    assert await gate(life) == "HEARTBEAT_LOST"
    await life.clock.advance(120_000)
    await life.call("require_pulse", life.account, "heartbeat", False, 7_000)
    assert await gate(life) is None


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["BANNED", "BAD_CREDENTIALS"])
async def test_a_condition_of_our_account_begins_together_with_its_halt(
    life: Life, mode: str
) -> None:
    """One commit: whoever dies behind it, both are there; before it, neither."""
    async with life.conn.transaction():
        assert await life.call("note_mode", life.account, mode, None, "A_CODE")
        assert await life.halts() == [mode]
    assert not await life.call("note_mode", life.account, mode, None, "A_CODE")
    assert await life.halts() == [mode]


async def test_a_condition_of_the_venue_halts_nobody(life: Life) -> None:
    assert await life.call("note_mode", life.account, "RESTARTING", 10_000, "A_CODE")
    assert await life.halts() == []


async def test_another_order_id_in_an_answer_is_recorded_together_with_the_halt(life: Life) -> None:
    order_id = await life.sending()
    await life.complete("mark_unknown", order_id, code="ID_MISMATCH")
    assert await life.halts() == ["ID_MISMATCH"]


async def test_another_order_id_told_to_a_worker_that_lost_its_claim_halts_as_well(
    life: Life,
) -> None:
    order_id = await life.sending()
    await life.clock.advance(20_000)
    await life.call("sweep_lapsed")
    answer = await life.complete("mark_unknown", order_id, code="ID_MISMATCH")
    assert answer["code"] == "STALE_ATTEMPT"
    assert await life.halts() == ["ID_MISMATCH"]


# --- what no stream told --------------------------------------------------------------------------


async def untold(life: Life) -> int:
    found: int = await life.call("untold_orders", life.account, 10_000_000, 15_000)
    return found


async def test_a_silent_stream_shows_though_each_order_ended_before_it_was_missed(
    life: Life,
) -> None:
    for _ in range(3):
        order_id = await life.live()
        await life.clock.advance(5_000)
        await life.read(order_id, "CANCELLED")
        await life.clock.advance(5_000)
    await life.clock.advance(60_000)
    assert await untold(life) == 3


async def test_an_order_that_was_never_told_of_shows_behind_many_newer_ones(life: Life) -> None:
    await life.live()
    await life.clock.advance(60_000)
    for _ in range(201):
        await life.reserved()
    assert await untold(life) == 1


async def test_an_order_that_filled_at_once_may_have_been_told_of_by_its_trade_alone(
    life: Life,
) -> None:
    order_id = await life.live(size_micros=10 * SHARE)
    await life.fill(order_id, 10 * SHARE)
    await life.clock.advance(60_000)
    assert await untold(life) == 0


# --- exchanges ------------------------------------------------------------------------------------


async def test_old_exchanges_go_in_bounded_parts_until_none_is_left(life: Life) -> None:
    one: dict[str, Any] = {
        "account": life.account,
        "incarnation": str(life.worker),
        "method": "GET",
        "path": "/x",
    }
    one |= {"query": "", "request": "", "phase": "done", "status": 200, "answer": "", "problem": ""}
    one |= {"took_ms": 1}
    await life.call("record_exchanges", [one] * 6_000)
    await life.clock.advance(100 * HOUR_MS)
    await life.call("record_exchanges", [one])
    assert [await life.call("prune_exchanges", 72) for _ in range(3)] == [5_000, 1_000, 0]
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.venue_exchange") == 1


# --- fills that do not settle ---------------------------------------------------------------------


async def sweep(life: Life) -> Any:
    return await life.call("sweep_unconfirmed", (life.account,), 60, 60)


async def test_old_fills_of_one_market_do_not_hide_those_of_another(life: Life) -> None:
    first = await life.live(size_micros=1_000 * SHARE)
    for _ in range(201):
        await life.fill(first, SHARE)
    await life.call("import_markets", [market_row("m2")])
    second = await life.live(market="m2", size_micros=10 * SHARE)
    await life.fill(second, SHARE, matched_at_ms=1_770_000_000_001)
    found = await sweep(life)
    assert (found["old"], found["halted"]) == ([first, second], 2)


async def test_an_old_fill_halts_its_market_once_and_not_again_after_a_person_resumed(
    life: Life,
) -> None:
    order_id = await life.live(size_micros=100 * SHARE)
    for _ in range(3):
        await life.fill(order_id, SHARE)
    halted = []
    for _ in range(3):
        halted.append((await sweep(life))["halted"])
        standing = await life.conn.fetch("SELECT * FROM ledger.halt WHERE cleared_at IS NULL")
        for row in standing:
            scope = (row["scope"], life.market, row["halt_id"])
            await life.call("clear_halt", *scope, "seen to", "test")
    assert halted == [1, 0, 0]


# --- what is owned --------------------------------------------------------------------------------


async def differing(life: Life, tokens: int) -> list[str]:
    token = await life.conn.fetchval("SELECT token_id FROM ledger.orders LIMIT 1")
    rows = await life.call(
        "record_holdings", life.account, sum(await life.balance()), {token: tokens}
    )
    return [one.kind for one in compare_holdings(Holding(**row) for row in rows)]


@pytest.mark.parametrize("status", ["CONFIRMED", "FAILED"])
async def test_a_settlement_that_is_heard_long_after_the_match_is_no_difference_yet(
    life: Life, status: str
) -> None:
    """The venue's balances lag behind the settlement, however long that took itself."""
    order_id = await life.live(size_micros=10 * SHARE)
    at_ms = int(life.clock.now.timestamp() * 1_000)
    trade: dict[str, Any] = {"trade_id": "slow", "matched_at_ms": at_ms}
    await life.fill(order_id, 10 * SHARE, **trade)
    await life.clock.advance(20 * 60_000)
    await life.fill(order_id, 10 * SHARE, status, **trade)
    lagging = {"CONFIRMED": 0, "FAILED": 10 * SHARE}[status]
    assert await differing(life, lagging) == []
    await life.clock.advance(10 * 60_000 + 1)
    assert await differing(life, lagging) == ["position_differs"]
    assert await differing(life, 10 * SHARE - lagging) == []


# --- cancels that nobody answers ------------------------------------------------------------------


async def way(life: Life) -> str:
    work = await life.call("claim_cancels", life.worker, (life.account,), 100)
    [(found, _)] = _ways(work).items()
    return found


@pytest.mark.parametrize("answer", ["refused", "not_sent"])
async def test_one_silence_after_many_answers_cancels_only_the_one_order(
    life: Life, answer: str
) -> None:
    order_id = await (life.unknown() if answer == "refused" else life.live())
    await life.cancel(order_id)
    for _ in range(12):
        assert await way(life) == BY_ID
        await life.cancel_answered(order_id, answer, retry_after_ms=1_000)
        await life.clock.advance(1_000)
    await life.claim_cancels()
    await life.cancel_answered(order_id, "unknown")
    await life.clock.advance(1_000)
    assert await way(life) == BY_ID


async def test_silences_between_answers_never_add_up_to_cancelling_more(life: Life) -> None:
    """A venue that is shaky for the whole quarantine: each third DELETE gets no answer."""
    order_id = await life.unknown()
    await life.cancel(order_id)
    for _ in range(30):
        for answer in ("refused", "refused", "unknown"):
            assert await way(life) == BY_ID
            await life.cancel_answered(order_id, answer)
            if answer == "refused":
                await life.call("cancels_unseen", (order_id,))
            await life.clock.advance(1_000)


async def test_silence_again_and_again_cancels_more_and_more(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    ways = []
    for _ in range(11):
        ways.append(await way(life))
        await life.cancel_answered(order_id, "unknown")
        await life.clock.advance(1_000)
    market = market_row(life.market)["condition_id"]
    assert ways == [BY_ID] * 5 + [market] + [BY_ID] * 4 + [EVERYTHING]


async def test_an_id_that_a_delete_cancelled_is_never_proven_absent(life: Life) -> None:
    order_id = await life.unknown(valid_for_ms=1_000)
    await life.clock.advance(2_000 + 10_000 + 120_001)
    await life.cancel(order_id)
    await life.cancel_answered(order_id, "accepted")
    for kind in ("order_absent", "trades_absent"):
        await life.evidence(order_id, kind)
    assert (await life.prove_absent(order_id))["code"] == "NOT_PROVEN"
    assert await life.state(order_id) == "UNKNOWN"
