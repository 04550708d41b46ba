"""Withdrawals carried by the worker's task: killed at every point, by two at once, through every fault.

The task is driven in process, pass by pass, on the test's clock. A kill is an exception that nothing
catches, at a named point; what goes on after it is another start, which knows only the database.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

import pytest

from app.withdrawal.treasury import (
    Absent,
    Accepted,
    Done,
    Failed,
    NotSent,
    Pending,
    Refused,
    Seen,
    Sent,
    Transfer,
    Unread,
    Unsure,
    Wish,
)
from tests.support.life import SHARE, _life, _module_database
from tests.support.withdrawal_rig import (
    AMOUNT,
    ENDED,
    Killed,
    Rig,
    TestsClock,
    fault,
    rig_fixture,
)
from tests.support.withdrawals import Saga
from workers.worker.points import WITHDRAWAL_POINTS

__all__ = ["_life", "_module_database", "rig_fixture"]

FATES: Final = {
    "": ("DONE", 1),
    "drop_answer": ("DONE", 1),
    "late": ("DONE", 1),
    "lost": ("DONE", 1),
    "unread": ("DONE", 1),
    "refuse": ("COMPENSATED", 0),
    "fail": ("COMPENSATED", 0),
}
"""What ends it under each fault, and how often the money has moved then. What is lost is sent again."""


@pytest.mark.parametrize("kind", FATES)
async def test_a_transfer_ends_as_the_treasury_carried_it_out(rig: Rig, kind: str) -> None:
    if kind:
        await fault(rig, kind, late_ms=20_000)
    await Saga(rig.life).start()
    state, moved = FATES[kind]
    assert await rig.until(*ENDED) == state
    done = [row for row in await rig.transfers() if row["state"] == "DONE"]
    assert [row["amount_micros"] for row in done] == [AMOUNT] * moved
    assert await rig.life.balance() == (10_000 * SHARE - AMOUNT * moved, 0)
    assert (await rig.life.reserve())["status"] == "admitted"
    await rig.green()


def scenario_of(point: str) -> str:
    """A fault on whose way the point lies."""
    step = point.split(".")[1]
    if step in ("look", "note"):
        return "drop_answer"
    return {"compensate": "fail", "escalate": "stuck", "lapse": "died"}.get(step, "")


@pytest.mark.parametrize("point", WITHDRAWAL_POINTS)
async def test_a_kill_at_any_point_moves_the_money_once_or_never(rig: Rig, point: str) -> None:
    scenario = scenario_of(point)
    if scenario in ("drop_answer", "fail"):
        await fault(rig, scenario)
    live = await rig.life.live() if scenario == "stuck" else 0
    await Saga(rig.life).start()
    if scenario == "died":
        await dies(rig, "withdraw.send.after")
    if scenario == "stuck":
        await rig.until("DRAINING")
        await rig.life.clock.advance(61_000)
    await dies(rig, point)
    if scenario == "stuck":
        await stuck_ends(rig, live)
    state = await rig.until(*ENDED)
    assert state == ("COMPENSATED" if scenario == "fail" else "DONE")
    moved = [row for row in await rig.transfers() if row["state"] == "DONE"]
    assert len(moved) == (state == "DONE")
    entries = await Saga(rig.life).entries()
    assert entries == ([-AMOUNT] if state == "DONE" else [-AMOUNT, AMOUNT])
    await rig.green()


async def dies(rig: Rig, point: str) -> None:
    """A worker that goes on until it is killed at the point; its claim lapses."""
    worker = rig.worker(stop_at=point)

    async def live() -> None:
        for _ in range(80):
            await rig.pass_on(worker)

    with pytest.raises(Killed):
        await live()
    await rig.life.clock.advance(25_000)


async def stuck_ends(rig: Rig, live: int) -> None:
    """A person is called and nothing moves on; then the order ends, and the person lets it go on."""
    worker = rig.worker()
    for _ in range(3):
        await rig.pass_on(worker, ms=30_000)
    saga = Saga(rig.life)
    row = await rig.life.conn.fetchrow("SELECT * FROM ledger.withdrawal")
    assert (row["state"], row["needs_person_why"]) == ("DRAINING", "DRAINING_TOO_LONG")
    saga.id = row["withdrawal_id"]
    await rig.life.read(live, "CANCELLED")
    await rig.pass_on(worker)
    assert await rig.state() == "DRAINING"
    assert (await saga.resolve("continue"))["status"] == "ok"


async def test_what_stays_unknown_calls_a_person_and_is_still_looked_up(rig: Rig) -> None:
    await fault(rig, "drop_answer")
    await fault(rig, "unread", times=1_000)
    saga = Saga(rig.life)
    await saga.start(alarm_ms=30_000)
    await rig.until("UNKNOWN")
    worker = rig.worker()
    for _ in range(10):
        await rig.pass_on(worker, ms=30_000)
    row = await rig.life.conn.fetchrow("SELECT * FROM ledger.withdrawal")
    assert (row["state"], row["needs_person_why"]) == ("UNKNOWN", "UNKNOWN_TOO_LONG")
    assert len(await rig.life.events("WITHDRAWAL_ESCALATED")) == 1
    assert await saga.entries() == [-AMOUNT]
    assert (await rig.life.reserve())["code"] == "HALTED"
    await rig.life.conn.execute("DELETE FROM paper.transfer_fault")
    await rig.pass_on(worker)
    assert await rig.state() == "DONE", "what is seen counts without a word of the person"


async def test_a_resend_is_the_same_bytes(rig: Rig) -> None:
    await fault(rig, "lost", times=2)
    await Saga(rig.life).start()
    assert await rig.until(*ENDED) == "DONE"
    assert await rig.life.conn.fetchval("SELECT count(*) FROM ledger.withdrawal_attempt") == 3
    [sent] = await rig.transfers()
    assert sent["hash"] == await rig.life.conn.fetchval(
        "SELECT hash FROM ledger.withdrawal_transfer"
    )


async def test_a_send_whose_time_has_passed_does_not_leave(rig: Rig) -> None:
    await Saga(rig.life).start()
    await rig.until("DEBITED")

    class Slow(TestsClock):
        readings = 0

        def monotonic_ns(self) -> int:
            self.readings += 1
            return self.readings * 3_000_000_000

    rig.clock = Slow(rig.life.clock)
    await rig.pass_on(rig.worker())
    assert (await rig.state(), await rig.transfers()) == ("DEBITED", [])
    outcome = await rig.life.conn.fetchval("SELECT outcome FROM ledger.withdrawal_attempt")
    assert outcome == "not_sent"


@dataclass
class Copy:
    """One transfer as the outside has it."""

    hash: str
    shows_at: int
    due_at: int
    fails: bool


MOODS: Final = ("done", "late", "late", "fails", "lost", "refused", "not sent")


class Outside:
    """A treasury of random moods, with a truth of its own."""

    name = "outside"
    request_ms = 1_000
    valid_ms = 60_000

    def __init__(self, clock: TestsClock, chance: random.Random, *, repeatable: bool) -> None:
        self.repeatable = repeatable
        self._clock = clock
        self._chance = chance
        # Some are at their worst when asked again.
        self._moods = chance.choice((MOODS, ("late", "refused"), ("late", "lost"), ("late",)))
        self.copies: list[Copy] = []

    async def prepare(self, wish: Wish) -> Transfer:
        return Transfer(f"0x{wish.withdrawal_id:064x}", b"%d" % wish.withdrawal_id)

    async def send(self, wish: Wish, transfer: Transfer) -> Sent:
        assert transfer == await self.prepare(wish), "the stored bytes"
        now = self._clock.now_ms()
        mood = self._chance.choice(self._moods)
        if mood == "refused":
            return Refused("NO")
        if mood == "not sent":
            return NotSent("no line")
        if mood == "lost":
            return Unsure("no answer")
        known = [one for one in self.copies if one.hash == transfer.hash]
        if not (self.repeatable and known):
            late = 0 if mood == "done" else self._chance.randrange(self.valid_ms)
            shows = late if self._chance.random() < 0.5 else self._chance.randrange(late + 1)
            self.copies.append(Copy(transfer.hash, now + shows, now + late, mood == "fails"))
        if self._chance.random() < 0.5:
            return Unsure("no answer")
        return Done("ref") if self.moved(transfer.hash) else Accepted("ref")

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Seen:
        now = self._clock.now_ms()
        if self._chance.random() < 0.3:
            return Unread("no answer")
        shown = [one for one in self.copies if one.hash == transfer.hash and one.shows_at <= now]
        if self.moved(transfer.hash):
            return Done("ref")
        if not shown:
            return Absent("", proof=True)
        failed = [one for one in shown if one.fails and one.due_at <= now]
        return Failed("", proof=True) if len(failed) == len(shown) else Pending("ref")

    def moved(self, hash_: str) -> int:
        """How often the money of a transfer has moved by now."""
        now = self._clock.now_ms()
        return sum(
            1 for one in self.copies if one.hash == hash_ and not one.fails and one.due_at <= now
        )


async def word_of_a_person(rig: Rig, outside: Outside, chance: random.Random, row: Any) -> None:
    """Looks at the wallet, and says what is so; where nothing can be said yet, nothing."""
    saga = Saga(rig.life, row["withdrawal_id"])
    if row["state"] == "UNKNOWN":
        moved = outside.moved(f"0x{row['withdrawal_id']:064x}")
        await saga.resolve("done" if moved else "failed")
    elif chance.random() < 0.5:
        await saga.resolve("continue")
    else:
        await saga.cancel()


@pytest.mark.parametrize("repeatable", [True, False])
async def test_no_course_of_things_makes_or_loses_money(rig: Rig, repeatable: bool) -> None:
    ends: dict[str, int] = {}
    for seed in range(80):
        chance = random.Random(seed)
        outside = Outside(rig.clock, chance, repeatable=repeatable)
        rig.treasury = outside
        before = (await rig.life.balance())[0]
        answer = await Saga(rig.life).start(key=f"seed {seed}", amount=SHARE, alarm_ms=60_000)
        number = answer["withdrawal_id"]
        row = await course(rig, outside, chance, number)
        moved = outside.moved(f"0x{number:064x}")
        available, locked = await rig.life.balance()
        assert (moved, locked) == (row["state"] == "DONE", 0), (seed, row["state"])
        assert before - available == moved * SHARE, (seed, row["state"])
        ends[row["state"]] = ends.get(row["state"], 0) + 1
        # Whatever was still under way outside does not move it afterwards.
        await rig.life.clock.advance(600_000)
        assert outside.moved(f"0x{number:064x}") == moved, seed
    assert set(ends) == set(ENDED), ends
    assert await rig.life.halts() == []
    await rig.green()


async def course(rig: Rig, outside: Outside, chance: random.Random, number: int) -> Any:
    """Two workers at once, dying now and then, until it has ended."""
    workers = [rig.worker(chance=chance), rig.worker(chance=chance)]
    for _ in range(400):
        results = await asyncio.gather(
            *(asyncio.ensure_future(one.one_pass()) for one in workers), return_exceptions=True
        )
        for index, result in enumerate(results):
            if isinstance(result, Killed):
                workers[index] = rig.worker(chance=chance)
            elif isinstance(result, BaseException):
                raise result
        row = await rig.life.conn.fetchrow(
            "SELECT * FROM ledger.withdrawal WHERE withdrawal_id = $1", number
        )
        assert outside.moved(f"0x{number:064x}") <= 1
        if row["state"] in ENDED:
            return row
        if row["needs_person_since"] is not None:
            await word_of_a_person(rig, outside, chance, row)
        elif chance.random() < 0.03:
            await Saga(rig.life, number).cancel()
        await rig.life.clock.advance(chance.choice((100, 3_000, 10_000, 30_000)))
    raise AssertionError(f"withdrawal {number} has not ended")
