"""Withdrawals where something around them fails: what is recorded, who goes on, and that no state is a dead end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from app.errors import BadInput, Code, DatabaseProblem
from app.withdrawal.decide import State
from app.withdrawal.paper import PaperTreasury
from app.withdrawal.treasury import Done, Sent, Transfer, Unsure, Wish
from tests.support.life import SHARE, Life, _life, _module_database
from tests.support.withdrawal_rig import AMOUNT, ENDED, Killed, Rig, fault, rig_fixture
from tests.support.withdrawals import Saga
from workers.worker.withdrawals import Withdrawals

__all__ = ["_life", "_module_database", "rig_fixture"]

GONE: Final = DatabaseProblem(Code.DATABASE_UNREACHABLE, "gone for a moment")
REFUSED: Final = BadInput(Code.BAD_REQUEST, "the database refused a value: duplicate key")


def failing(worker: Withdrawals, function: str, error: Exception, times: int = 1) -> None:
    """The next calls of a function of the ledger fail before they are made."""
    calls, left = worker._context.calls, [times]
    real: Callable[..., Any] = calls.value

    async def value(called: str, *arguments: Any) -> Any:
        if called == function and left[0]:
            left[0] -= 1
            raise error
        return await real(called, *arguments)

    calls.value = value  # type: ignore[method-assign, assignment]


async def row(rig: Rig) -> Any:
    return await rig.life.conn.fetchrow(
        "SELECT * FROM ledger.withdrawal ORDER BY withdrawal_id DESC LIMIT 1"
    )


# --- keys of movements ----------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["debit", "credit", "debit_again", "whatever"])
async def test_nobody_books_under_a_key_of_withdrawals(life: Life, step: str) -> None:
    with pytest.raises(Exception, match="BAD_KEY") as refused:
        await life.call(
            "book_movement", "main", "collateral", 1, "deposit", f"withdrawal:1:{step}", "x"
        )
    assert getattr(refused.value, "sqlstate", "LG004") == "LG004"


@pytest.mark.parametrize(("kind", "end"), [("", "DONE"), ("refuse", "COMPENSATED")])
async def test_a_movement_that_once_took_such_a_key_is_in_nobodys_way(
    rig: Rig, kind: str, end: str
) -> None:
    """From before the keys were kept apart."""
    if kind:
        await fault(rig, kind)
    number = (await Saga(rig.life).start())["withdrawal_id"]
    for step in ("debit", "credit"):
        key = f"withdrawal:{number}:{step}"
        await rig.life.conn.execute(
            "SELECT ledger._book(account_id, 'collateral', 1, 0, 'deposit', $1, ledger.clock(), "
            "NULL, NULL, '', 'outside'), ledger._journal(account_id, NULL, ledger.clock(), "
            "'MOVEMENT', p_detail => jsonb_build_object('asset', 'collateral', 'amount', 1, "
            "'cause', 'deposit', 'key', $2::text, 'note', '', 'value', NULL)) "
            "FROM ledger.account WHERE name = 'main'",
            "movement:" + key,
            key,
        )
        repeated = ("main", "collateral", 1, "deposit", key, "")
        assert await rig.life.call("book_movement", *repeated) is False
    assert await rig.until(*ENDED) == end
    await rig.green()


# --- errors under a step --------------------------------------------------------------------------


async def test_a_step_that_the_database_will_not_take_calls_a_person_and_the_worker_lives(
    rig: Rig,
) -> None:
    await fault(rig, "refuse")
    saga = Saga(rig.life)
    await saga.start()
    worker = rig.worker()
    failing(worker, "compensate_withdrawal", REFUSED, times=1_000)
    for _ in range(20):
        await rig.pass_on(worker)
    found = await row(rig)
    assert found["state"] == "FAILED"
    assert found["needs_person_why"].startswith("STEP_FAILED: BAD_REQUEST")
    assert len(await rig.life.events("WITHDRAWAL_ESCALATED")) == 1
    assert (await saga.cancel())["code"] == "ILLEGAL_TRANSITION"
    assert (await saga.resolve("failed", "given back by hand"))["state"] == "COMPENSATED"
    assert await saga.entries() == [-AMOUNT, AMOUNT]
    assert (await rig.life.reserve())["status"] == "admitted"
    await rig.green()


async def test_a_debit_that_the_database_will_not_take_goes_on_by_the_word_of_a_person(
    rig: Rig,
) -> None:
    saga = Saga(rig.life)
    await saga.start()
    worker = rig.worker()
    failing(worker, "debit_withdrawal", REFUSED)
    for _ in range(8):
        await rig.pass_on(worker)
    found = await row(rig)
    assert (found["state"], found["needs_person_since"] is not None) == ("UNLOCKED", True)
    await saga.resolve("continue")
    assert await rig.until(*ENDED) == "DONE"


@pytest.mark.parametrize(
    ("function", "state"),
    [
        ("stop_for_withdrawal", "REQUESTED"),
        ("drain_for_withdrawal", "STOPPING"),
        ("debit_withdrawal", "UNLOCKED"),
        ("open_transfer", "DEBITED"),
        ("put_off_withdrawal", "DRAINING"),
    ],
)
async def test_a_commit_that_fails_once_is_taken_again_within_seconds(
    rig: Rig, function: str, state: str
) -> None:
    if state == "DRAINING":
        await rig.life.live()
    await Saga(rig.life).start()
    await rig.until(state)
    worker = rig.worker()
    failing(worker, function, GONE)
    for _ in range(4):
        await rig.pass_on(worker, ms=1_000)
    calls = await rig.life.conn.fetchval("SELECT claim_no FROM ledger.withdrawal")
    assert await rig.state() != state or calls >= 3, "its claim did not stand"


async def test_who_dies_before_the_send_holds_it_up_for_three_seconds(rig: Rig) -> None:
    await Saga(rig.life).start()
    with pytest.raises(Killed):
        await rig.worker(stop_at="withdraw.stop.before").one_pass()
    await rig.life.clock.advance(2_900)
    await rig.worker().one_pass()
    assert await rig.state() == "REQUESTED"
    await rig.life.clock.advance(200)
    await rig.worker().one_pass()
    assert await rig.state() == "STOPPING"


async def test_who_is_told_to_stop_gives_its_claims_back_at_once(rig: Rig) -> None:
    await Saga(rig.life).start()
    worker = rig.worker()
    worker._context.shared.stopping.set()
    await worker.one_pass()
    assert (await row(rig))["claimed_until"] is None
    await rig.worker().one_pass()
    assert await rig.state() == "STOPPING"


@pytest.mark.parametrize("back_s", [62, 240, 86_400])
async def test_a_clock_that_went_back_holds_nothing_up(rig: Rig, back_s: int) -> None:
    await Saga(rig.life).start()
    await rig.life.clock.advance(-1_000 * back_s)
    await rig.worker().one_pass()
    assert await rig.state() == "STOPPING"


async def test_a_claim_from_before_the_clock_went_back_lapses(rig: Rig) -> None:
    saga = Saga(rig.life, lease_ms=600_000)
    await saga.to("DEBITED")
    await saga.open()
    await rig.life.clock.advance(-3_600_000)
    assert [one["state"] for one in await saga.claims()] == ["SENDING"]


async def test_a_definite_answer_is_recorded_though_the_database_was_away(rig: Rig) -> None:
    await fault(rig, "refuse")
    await Saga(rig.life).start()
    await rig.until("DEBITED")
    worker = rig.worker()
    failing(worker, "record_transfer", GONE, times=2)
    await worker.one_pass()
    await worker.drain(10)
    assert await rig.state() == "FAILED", "an answer is never dropped"


# --- the outside ----------------------------------------------------------------------------------


class Odd(PaperTreasury):
    """Answers with what no database stores."""

    async def send(self, wish: Wish, transfer: Transfer) -> Sent:
        sent = await super().send(wish, transfer)
        assert isinstance(sent, (Done, Unsure))
        return Unsure("a\0b\ud800", "c\0d") if isinstance(sent, Unsure) else Done("r\0\ud800", "\0")

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Any:
        return Done("r\0\ud800", "\0")


@pytest.mark.parametrize("kind", ["", "drop_answer"])
async def test_answers_that_no_database_stores_end_it_all_the_same(rig: Rig, kind: str) -> None:
    if kind:
        await fault(rig, kind)
    rig.treasury = Odd(rig.pool, rig.clock)
    await Saga(rig.life).start()
    assert await rig.until(*ENDED) == "DONE"
    assert (await row(rig))["reference"].startswith("r\ufffd")


async def test_a_treasury_that_did_not_send_it_concludes_nothing(rig: Rig) -> None:
    await fault(rig, "drop_answer")
    saga = Saga(rig.life)
    await saga.start()
    await rig.until("UNKNOWN")

    class Other(PaperTreasury):
        name = "another"

        async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Any:
            raise AssertionError("it is not asked")

    sent, rig.treasury = rig.treasury, Other(rig.pool, rig.clock)
    worker = rig.worker()
    for _ in range(10):
        await rig.pass_on(worker, ms=20_000)
    found = await row(rig)
    assert (found["state"], found["needs_person_why"]) == ("UNKNOWN", "TREASURY_CHANGED: paper")
    assert await saga.entries() == [-AMOUNT], "nothing was given back"
    rig.treasury = sent
    assert await rig.until(*ENDED) == "DONE"


async def test_one_that_waits_for_an_answer_holds_up_no_other(rig: Rig) -> None:
    await rig.life.open_account("other", 1_000 * SHARE)
    answer = asyncio.Event()

    class Slow(PaperTreasury):
        async def send(self, wish: Wish, transfer: Transfer) -> Sent:
            if wish.account == "main":
                await answer.wait()
            return await super().send(wish, transfer)

    rig.treasury = Slow(rig.pool, rig.clock)
    await Saga(rig.life).start()
    await Saga(rig.life).start(account="other", key="w2", amount=SHARE)
    worker = rig.worker()
    worker._context.shared.known.add("other")
    for _ in range(12):
        await rig.pass_on(worker, ms=600)
    states = await rig.life.conn.fetch("SELECT state FROM ledger.withdrawal ORDER BY withdrawal_id")
    assert [one["state"] for one in states] == ["SENDING", "DONE"]
    answer.set()
    await worker.drain(10)
    assert await rig.life.conn.fetchval("SELECT bool_and(state = 'DONE') FROM ledger.withdrawal")
    await rig.green()


# --- no dead end ----------------------------------------------------------------------------------

WAYS_OUT: Final[dict[str, dict[str, str]]] = {
    "REQUESTED": {"cancel": "CANCELLED"},
    "STOPPING": {"cancel": "CANCELLED"},
    "DRAINING": {"cancel": "CANCELLED"},
    "UNLOCKED": {"cancel": "CANCELLED"},
    "DEBITED": {"cancel": "COMPENSATED"},
    "SENDING": {"done": "DONE", "failed": "COMPENSATED"},
    "UNKNOWN": {"done": "DONE", "failed": "COMPENSATED"},
    "FAILED": {"done": "DONE", "failed": "COMPENSATED"},
}
"""What a person can do to end a withdrawal where no worker carries it on; of what may have left once no copy can
arrive any more.
"""


async def brought(saga: Saga, state: str, key: str) -> None:
    """One that stands there."""
    if state in ("SENDING", "UNKNOWN", "FAILED"):
        await saga.to("DEBITED", key=key, amount=SHARE)
        attempt = await saga.open()
        if state != "SENDING":
            await saga.record(attempt, "unsure" if state == "UNKNOWN" else "refused")
    else:
        await saga.to(state, key=key, amount=SHARE)
    assert await saga.state() == state


@pytest.mark.parametrize("person_called", [False, True])
@pytest.mark.parametrize("state", WAYS_OUT)
async def test_every_state_has_the_ways_out_that_are_listed_and_no_other(
    life: Life, state: str, person_called: bool
) -> None:
    found = {}
    for n, way in enumerate(("cancel", "done", "failed")):
        saga = Saga(life)
        await brought(saga, state, f"{state} {n}")
        if person_called:
            await saga.after_lease()
            await saga.step("escalate_withdrawal", "test")
        await saga.after_deadline()
        answer = await (saga.cancel() if way == "cancel" else saga.resolve(way))
        if answer["status"] == "ok":
            found[way] = answer["state"]
            assert (await life.reserve(price_micros=300_000 - n * 10_000))["status"] == "admitted"
            await life.conn.execute("SELECT ledger.request_cancel_all('main', NULL, 'test')")
            continue
        assert await saga.state() == state, "a refusal changes nothing"
        end = next(iter(WAYS_OUT[state]))
        await (saga.cancel() if end == "cancel" else saga.resolve(end))
        assert await saga.state() in ENDED
    assert found == WAYS_OUT[state]


def test_the_list_of_ways_out_names_every_state_that_is_no_end() -> None:
    assert set(WAYS_OUT) == {state.value for state in State} - set(ENDED)


@pytest.mark.parametrize("why", ["", "  ", "\t\n"])
async def test_a_reason_of_nothing_but_blanks_is_none(life: Life, why: str) -> None:
    saga = Saga(life)
    assert (await saga.start(why=why))["code"] == "BAD_REQUEST"
    await saga.start()
    for answer in (await saga.cancel(why), await saga.resolve("continue", why)):
        assert answer["code"] == "BAD_REQUEST"


async def test_what_no_worker_takes_up_is_seen(rig: Rig) -> None:
    query = "SELECT unattended FROM audit.withdrawals"
    await Saga(rig.life).start()
    assert await rig.life.conn.fetchval(query) is False
    await rig.life.clock.advance(11_000)
    assert await rig.life.conn.fetchval(query) is True
    await rig.worker().one_pass()
    assert await rig.life.conn.fetchval(query) is False
    await rig.until(*ENDED)
    await rig.life.clock.advance(60_000)
    assert await rig.life.conn.fetchval(query) is False
