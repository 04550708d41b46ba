"""The steps of a withdrawal as the ledger judges them: money moves once, on proof, under one claim."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.support.life import SHARE, Life, _life, _module_database, _second, incarnation
from tests.support.withdrawals import ADDRESS, TRANSFER, Saga, totals

__all__ = ["_life", "_module_database", "_second"]


@pytest.fixture(name="saga")
def _saga(life: Life) -> Saga:
    return Saga(life)


async def test_a_withdrawal_from_request_to_done_moves_the_money_once(saga: Saga) -> None:
    await saga.to("UNLOCKED")
    assert await saga.life.balance() == (10_000 * SHARE, 0)
    await saga.debit()
    assert await saga.life.balance() == (9_900 * SHARE, 0)
    attempt = await saga.open()
    assert (await saga.record(attempt, "done"))["state"] == "DONE"
    assert await totals(saga.life) == {"collateral": 0}
    assert await saga.entries() == [-100 * SHARE]


async def test_the_same_key_is_a_replay_and_another_amount_under_it_is_refused(saga: Saga) -> None:
    first = await saga.start(key="k")
    again = await saga.start(key="k")
    assert (first["replay"], again["replay"]) == (False, True)
    assert again["withdrawal_id"] == first["withdrawal_id"]
    assert (await saga.start(key="k", amount=1))["code"] == "KEY_REUSED"
    assert (await saga.start(key="k", to="0x" + "b" * 40))["code"] == "KEY_REUSED"
    assert (await saga.start(key="other"))["code"] == "BUSY"
    assert await saga.life.conn.fetchval("SELECT count(*) FROM ledger.withdrawal") == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"amount": 0}, "BAD_REQUEST"),
        ({"amount": -5}, "BAD_REQUEST"),
        ({"to": "0x12"}, "BAD_REQUEST"),
        ({"to": "0x" + "0" * 40}, "BAD_REQUEST"),
        ({"to": None}, "BAD_REQUEST"),
        ({"why": ""}, "BAD_REQUEST"),
        ({"key": ""}, "BAD_KEY"),
        ({"key": "k" * 201}, "BAD_KEY"),
        ({"account": "nobody"}, "UNKNOWN_ACCOUNT"),
        ({"drain_ms": 0}, "BAD_VALIDITY"),
        ({"alarm_ms": None}, "BAD_VALIDITY"),
        ({"amount": 10_000 * SHARE + 1}, "INSUFFICIENT_COLLATERAL"),
    ],
)
async def test_what_cannot_be_withdrawn_starts_nothing(
    saga: Saga, wrong: dict[str, Any], code: str
) -> None:
    assert (await saga.start(**wrong))["code"] == code
    assert await saga.life.conn.fetchval("SELECT count(*) FROM ledger.withdrawal") == 0


async def test_from_the_stop_on_nothing_is_reserved_or_sent_and_cancels_go_out(saga: Saga) -> None:
    live = await saga.life.live()
    prepared = await saga.life.prepared(market="m1", outcome="Down")
    await saga.to("STOPPING")
    refused = await saga.life.reserve()
    assert (refused["code"], "WITHDRAWAL" in refused["detail"]) == ("HALTED", True)
    assert (await saga.life.open_attempt(prepared))["code"] == "HALTED"
    drained = await saga.step("drain_for_withdrawal")
    assert (drained["state"], drained["open"]) == ("DRAINING", 1)
    assert await saga.life.claim_cancels() == [live]
    assert (await saga.step("drain_for_withdrawal"))["state"] == "DRAINING"
    await saga.life.cancel_answered(live, "accepted")
    assert (await saga.step("drain_for_withdrawal"))["state"] == "DRAINING"
    await saga.life.read(live, "CANCELLED")
    assert (await saga.step("drain_for_withdrawal"))["state"] == "UNLOCKED"


async def test_the_sweep_of_cancels_drains_a_paused_account_too(saga: Saga) -> None:
    live = await saga.life.live()
    await saga.to("STOPPING")
    assert await saga.life.call("sweep_cancels") == 1
    assert (await saga.life.row("orders", live))["cancel_asked_at"] is not None


async def test_another_account_goes_on_trading(saga: Saga) -> None:
    await saga.life.open_account("other", 100 * SHARE)
    await saga.to("DEBITED")
    assert (await saga.life.reserve(account="other"))["status"] == "admitted"


async def test_a_drain_that_takes_too_long_calls_a_person_and_never_goes_on(saga: Saga) -> None:
    live = await saga.life.live()
    await saga.to("STOPPING")
    await saga.step("drain_for_withdrawal")
    await saga.life.clock.advance(saga.drain_ms + 1)
    await saga.life.read(live, "CANCELLED")
    # Drained, and too late: only a person lets it go on.
    assert (await saga.step("drain_for_withdrawal"))["state"] == "DRAINING"
    assert (await saga.claim())["alarm_due"] is True
    await saga.under_claim("escalate_withdrawal", "DRAINING_TOO_LONG")
    assert (await saga.step("drain_for_withdrawal"))["state"] == "DRAINING"
    assert (await saga.life.reserve())["code"] == "HALTED"
    assert (await saga.resolve("continue"))["status"] == "ok"
    assert (await saga.step("drain_for_withdrawal"))["state"] == "UNLOCKED"


async def test_money_spent_before_the_drain_is_not_withdrawn(saga: Saga) -> None:
    live = await saga.life.live(size_micros=100 * SHARE)
    await saga.to("STOPPING", amount=9_990 * SHARE)
    await saga.step("drain_for_withdrawal")
    await saga.life.fill(live, 100 * SHARE, "CONFIRMED")
    assert (await saga.step("drain_for_withdrawal"))["state"] == "DRAINING"
    claimed = await saga.claim()
    assert (claimed["open"], claimed["locked"]) == (0, 0)
    assert claimed["available"] < 9_990 * SHARE
    assert (await saga.cancel())["state"] == "CANCELLED"
    assert (await saga.life.reserve())["status"] == "admitted"


async def test_an_order_that_comes_back_after_the_drain_stops_the_debit(saga: Saga) -> None:
    gone = await saga.life.absent()
    await saga.to("UNLOCKED")
    await saga.life.read(gone, "LIVE")
    assert (await saga.debit())["state"] == "DRAINING"
    assert await saga.entries() == []


async def test_the_bytes_are_stored_with_the_debit_and_never_change(saga: Saga) -> None:
    await saga.to("UNLOCKED")
    await saga.debit()
    row = await saga.life.conn.fetchrow("SELECT * FROM ledger.withdrawal_transfer")
    assert (row["hash"], row["treasury"]) == (TRANSFER["hash"], "paper")
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await saga.life.conn.execute("UPDATE ledger.withdrawal_transfer SET hash = hash || ''")
    with pytest.raises(asyncpg.PostgresError, match="never change"):
        await saga.life.conn.execute("UPDATE ledger.withdrawal SET amount_micros = 1")
    assert (await saga.debit())["code"] == "ILLEGAL_TRANSITION"
    assert await saga.entries() == [-100 * SHARE]


@pytest.mark.parametrize("outcome", ["accepted", "unsure"])
async def test_doubt_is_never_credited(saga: Saga, outcome: str) -> None:
    await saga.to("DEBITED")
    assert (await saga.record(await saga.open(), outcome))["state"] == "UNKNOWN"
    for finding, proof in (
        ("absent", True),
        ("failed", True),
        ("unread", False),
        ("pending", False),
    ):
        assert (await saga.note(finding, proof))["state"] == "UNKNOWN", "before the deadline"
    assert (await saga.step("compensate_withdrawal"))["code"] == "ILLEGAL_TRANSITION"
    assert (await saga.resolve("failed"))["code"] == "NOT_PROVEN"
    assert (await saga.cancel())["code"] == "NOT_PROVEN"
    await saga.after_deadline()
    assert (await saga.note("absent", False))["state"] == "UNKNOWN", "not the whole truth"
    assert await saga.entries() == [-100 * SHARE]
    assert (await saga.note("done", True))["state"] == "DONE"


async def test_a_proven_failure_is_given_back_once(saga: Saga) -> None:
    await saga.to("DEBITED")
    await saga.record(await saga.open(), "unsure")
    await saga.after_deadline()
    assert (await saga.note("absent", True))["state"] == "FAILED"
    assert (await saga.step("compensate_withdrawal"))["state"] == "COMPENSATED"
    assert await saga.claims() == []
    assert await saga.entries() == [-100 * SHARE, 100 * SHARE]
    assert await saga.life.balance() == (10_000 * SHARE, 0)
    assert (await saga.life.reserve())["status"] == "admitted", "the pause is over"


async def test_a_refusal_is_proof_for_the_first_copy_and_none_for_the_second(saga: Saga) -> None:
    await saga.to("DEBITED")
    await saga.record(await saga.open(), "unsure")
    assert (await saga.record(await saga.open(), "refused"))["state"] == "UNKNOWN"
    await saga.after_deadline()
    await saga.note("absent", True)
    await saga.step("compensate_withdrawal")
    await saga.to("DEBITED", key="second")
    assert (await saga.record(await saga.open(), "refused"))["state"] == "FAILED"


async def test_a_refusal_after_a_lapse_proves_nothing(saga: Saga) -> None:
    await saga.to("DEBITED")
    await saga.open()
    await saga.after_lease()
    assert (await saga.step("lapse_transfer"))["state"] == "UNKNOWN"
    assert (await saga.record(await saga.open(), "refused"))["state"] == "UNKNOWN"
    assert (await saga.record(await saga.open(), "not_sent"))["state"] == "UNKNOWN"


async def test_what_was_not_sent_is_sent_later(saga: Saga) -> None:
    await saga.to("DEBITED")
    assert (await saga.record(await saga.open(), "not_sent"))["state"] == "DEBITED"
    assert (await saga.record(await saga.open(), "done"))["state"] == "DONE"


async def test_bytes_that_are_not_repeatable_leave_once(saga: Saga) -> None:
    await saga.to("UNLOCKED")
    await saga.debit(repeatable=False)
    await saga.record(await saga.open(), "not_sent")
    await saga.record(await saga.open(), "unsure")
    await saga.claim()
    assert (await saga.under_claim("open_transfer", 1_000, 1_000))["code"] == "NOT_PROVEN"


async def test_a_second_claimer_gets_nothing_and_the_first_loses_it_with_its_lease(
    saga: Saga, second: Life
) -> None:
    await saga.to("DEBITED")
    assert (await saga.claim())["state"] == "DEBITED"
    other = Saga(second)
    assert await other.claims() == []
    attempt = await saga.open(claimed=True)
    await saga.after_lease()
    assert (await other.claim())["state"] == "SENDING"
    other.id = saga.id
    assert (await other.under_claim("lapse_transfer"))["state"] == "UNKNOWN"
    late = await saga.record(attempt, "refused")
    assert late["code"] == "STALE_ATTEMPT", "a late refusal ends nothing"
    assert (await saga.under_claim("compensate_withdrawal"))["code"] == "STALE_ATTEMPT"
    assert await saga.state() == "UNKNOWN"
    assert (await saga.record(attempt, "done"))["state"] == "DONE", "a late fact counts"


async def test_two_claimers_at_once_share_nothing(saga: Saga, second: Life) -> None:
    await saga.start()
    for _ in range(10):
        mine, theirs = await asyncio.gather(saga.claims(), Saga(second).claims())
        assert len(mine) + len(theirs) == 1
        await saga.after_lease()


async def test_a_transfer_that_comes_after_it_was_given_up_is_booked_and_halts(saga: Saga) -> None:
    await saga.to("DEBITED")
    attempt = await saga.open()
    await saga.after_deadline()
    await saga.step("lapse_transfer")
    assert (await saga.resolve("failed"))["state"] == "COMPENSATED"
    assert (await saga.record(attempt, "done"))["state"] == "DONE"
    assert await saga.entries() == [-100 * SHARE, 100 * SHARE, -100 * SHARE]
    assert await saga.life.halts() == ["WITHDRAWAL_CAME_LATE"]
    assert await totals(saga.life) == {"collateral": 0}


@pytest.mark.parametrize("state", ["REQUESTED", "STOPPING", "DRAINING", "UNLOCKED"])
async def test_before_the_debit_it_is_cancelled_and_the_account_trades_again(
    saga: Saga, state: str
) -> None:
    await saga.to(state)
    assert (await saga.cancel(why=""))["code"] == "BAD_REQUEST"
    assert (await saga.cancel())["state"] == "CANCELLED"
    assert (await saga.cancel())["state"] == "CANCELLED", "safe to repeat"
    assert await saga.entries() == []
    assert (await saga.life.reserve())["status"] == "admitted"
    assert (await saga.resolve("done"))["code"] == "ALREADY_ENDED"


async def test_a_debit_without_a_transfer_is_given_back_by_the_cancel(saga: Saga) -> None:
    await saga.to("DEBITED")
    assert (await saga.cancel())["state"] == "COMPENSATED"
    assert await saga.entries() == [-100 * SHARE, 100 * SHARE]
    assert (await saga.cancel())["code"] == "ALREADY_ENDED"


async def test_a_person_resolves_what_stays_unknown(saga: Saga) -> None:
    await saga.to("DEBITED")
    assert (await saga.resolve("done"))["code"] == "ILLEGAL_TRANSITION"
    await saga.record(await saga.open(), "unsure")
    assert (await saga.resolve("maybe"))["code"] == "BAD_REQUEST"
    assert (await saga.resolve("done", why=""))["code"] == "BAD_REQUEST"
    assert (await saga.resolve("done"))["state"] == "DONE"
    assert await saga.entries() == [-100 * SHARE]


async def test_each_step_is_in_the_journal_and_the_audit_is_green(saga: Saga) -> None:
    await saga.to("DEBITED")
    await saga.record(await saga.open(), "unsure")
    await saga.after_deadline()
    await saga.note("absent", True)
    await saga.step("compensate_withdrawal")
    moved = [row["to_state"] for row in await saga.life.events("WITHDRAWAL_MOVED")]
    assert moved == [
        *("STOPPING", "DRAINING", "UNLOCKED", "DEBITED", "SENDING", "UNKNOWN", "FAILED"),
        "COMPENSATED",
    ]
    red = await saga.life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert [dict(row) for row in red] == []


async def test_the_trader_and_the_worker_can_start_none(saga: Saga, module_database: Any) -> None:
    for role in ("trader", "worker"):
        conn = await module_database.connect(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetchval(
                "SELECT ledger.start_withdrawal('main', 5, $1, 'k', 'why', 'me')", ADDRESS
            )
    conn = await module_database.connect("risk")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.fetchval("SELECT ledger.debit_withdrawal(1, $1, 1, '{}')", incarnation(1))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.fetchval("SELECT ledger.compensate_withdrawal(1, $1, 1)", incarnation(1))


async def test_a_comparison_with_the_venue_allows_for_what_is_under_way(saga: Saga) -> None:
    await saga.to("DEBITED")
    [seen] = await saga.life.call("record_holdings", "main", 10_000 * SHARE, {})
    assert (seen["ours"], seen["unsettled"]) == (9_900 * SHARE, 100 * SHARE)
