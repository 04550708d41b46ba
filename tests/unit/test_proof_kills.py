"""The kills campaign's own judgement and bookkeeping: each fault is put in once and must show."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.clock import SeededRng, SystemClock
from app.errors import BadInput
from proof.kills.breeding import Wall, wear
from proof.kills.crowd import Crowd, Kill, Life, Seat
from proof.kills.part import Log, faults_of, rows_of, run, share_of, share_of_planted
from proof.kills.rounds import Gap, Round
from proof.live.auditing import orders_of
from proof.live.load import Level, Plan, intent_of, open_questions, standing
from proof.parts import Request
from workers.demo.records import Answer, Ask


class Born:
    """A child as the crowd sees one; its end is in the test's hand."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.signals: list[int] = []

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.code = -signal.SIGKILL


class Nursery:
    """Instead of the process that forks."""

    def __init__(self) -> None:
        self.born: list[Born] = []
        self.env: list[dict[str, str]] = []

    def start(self, _what: str, _arguments: object, *, env: dict[str, str], **_: Any) -> Born:
        self.born.append(Born())
        self.env.append(env)
        return self.born[-1]


class Hand(SystemClock):
    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms


def a_crowd(folder: Path, *, troubled: bool = False) -> tuple[Crowd, Nursery, Hand, Seat]:
    nursery, clock = Nursery(), Hand()
    crowd = Crowd(nursery, folder, clock, SeededRng(1), lambda: troubled)  # type: ignore[arg-type]
    seat = Seat("worker-0", "worker", {})
    crowd.seats.append(seat)
    crowd.tend()
    return crowd, nursery, clock, seat


def life(seat: Seat) -> Life:
    assert seat.life is not None
    return seat.life


# --- the crowd ----------------------------------------------------------------------------------------


def test_who_was_killed_is_counted_once_and_followed_at_once(tmp_path: Path) -> None:
    crowd, nursery, clock, seat = a_crowd(tmp_path)
    assert crowd.strike("worker")
    assert not crowd.strike("worker")
    assert crowd.toll.kills == [Kill("worker", clock.at_ms)]
    crowd.tend()
    assert seat.lives == 2
    assert len(nursery.born) == 2
    assert not crowd.toll.unexpected


def test_a_death_at_a_point_is_counted_under_its_name(tmp_path: Path) -> None:
    crowd, nursery, clock, seat = a_crowd(tmp_path)
    life(seat).point = "send.after"
    nursery.born[0].code = -signal.SIGKILL
    crowd.tend()
    assert crowd.toll.kills == [Kill("worker at send.after", clock.at_ms)]


def test_a_death_that_nobody_wanted_is_a_finding(tmp_path: Path) -> None:
    crowd, nursery, _, _ = a_crowd(tmp_path)
    nursery.born[0].code = -signal.SIGKILL
    crowd.tend()
    [found] = crowd.toll.unexpected
    assert "exit code -9" in found
    assert not crowd.toll.kills


def test_a_start_without_database_may_give_up_and_waits_before_the_next(tmp_path: Path) -> None:
    crowd, nursery, clock, seat = a_crowd(tmp_path, troubled=True)
    nursery.born[0].code = 2
    crowd.tend()
    assert (crowd.toll.given_up, crowd.toll.unexpected, seat.lives) == (1, [], 1)
    clock.at_ms += 1_000
    crowd.tend()
    assert seat.lives == 2


def test_who_had_started_may_not_give_up_for_a_database_that_is_away(tmp_path: Path) -> None:
    crowd, nursery, _, seat = a_crowd(tmp_path, troubled=True)
    life(seat).log.write_text('{"event": "STARTED"}\n')
    nursery.born[0].code = 1
    crowd.tend()
    assert len(crowd.toll.unexpected) == 1


def test_a_point_that_does_not_come_ends_in_a_kill_anywhere(tmp_path: Path) -> None:
    crowd, _, clock, seat = a_crowd(tmp_path)
    life(seat).point = "evidence.after"
    clock.at_ms += 60_000
    crowd.tend()
    assert not crowd.toll.kills
    life(seat).log.write_text('{"event": "STARTED"}\n{"event": "ACCOUNT_READY"}\n')
    crowd.tend()
    clock.at_ms += 60_000
    crowd.tend()
    assert [one.kind for one in crowd.toll.kills] == ["worker"]


def test_points_are_tried_in_turn_and_handed_to_the_process(tmp_path: Path) -> None:
    crowd, nursery, _, seat = a_crowd(tmp_path)
    crowd.mortal = True
    crowd.seats.append(another := Seat("worker-1", "worker", {}, mortal=False))
    crowd.tend()
    life(another).log.write_text('{"event": "STARTED"}\n{"event": "ACCOUNT_READY"}\n')
    crowd.tend()
    for _ in range(200):
        crowd.kill(seat)
        crowd.tend()
    given = [one["LEDGER_TEST_STOP_AT"] for one in nursery.env if "LEDGER_TEST_STOP_AT" in one]
    assert len({one.partition(":")[0] for one in given}) == len(crowd.toll.tried) > 20
    assert max(crowd.toll.tried.values()) - min(crowd.toll.tried.values()) <= 1


def test_the_wall_clock_of_a_worker_is_in_our_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SystemClock.now_ms
    monkeypatch.setattr(SystemClock, "now_ms", before)
    wall = Wall(tmp_path / "wall")
    wear(str(wall.path))
    clock = SystemClock()
    assert abs(clock.now_ms() - before(clock)) < 1_000
    wall.step(-90_000)
    assert abs(clock.now_ms() + 90_000 - before(clock)) < 1_000


# --- writers ------------------------------------------------------------------------------------------


def asked(key: str, via: str = "place") -> Ask:
    request = {"order_type": "GTC", "order_class": "entry"}
    return Ask(key, via, 1, "main", "0xm", "0", "BUY", 400_000, 5_000_000, request)


def test_what_has_no_answer_or_only_failures_is_asked_again_after_a_kill() -> None:
    asks = [asked("a"), asked("b"), asked("c"), asked("a", "again")]
    answers = [
        Answer("a", "place", 2, "admitted", order_id=1),
        Answer("b", "place", 2, "failed", code="DATABASE_UNREACHABLE"),
    ]
    found = [(one.key, one.via) for one in open_questions(asks, answers)]
    assert found == [("b", "place"), ("c", "place"), ("a", "again")]
    assert intent_of(asks[0]).key == "a"
    assert [order_id for order_id, _ in standing(asks, answers)] == [1]


def test_a_plan_comes_back_from_its_file_as_it_was() -> None:
    plan = Plan("w", 1, (Level("0xm", 0, 1, 2, 3, 4),), (0.1, 0.2), by_sql=True, forgets=True)
    assert Plan.of(plan.to_json()) == plan


# --- the share ----------------------------------------------------------------------------------------


def a_round(number: int, fault: str, *kills: Kill) -> Round:
    gaps = [Gap(one.kind, False, 100 * (i + 1), 200) for i, one in enumerate(kills)]
    gaps += [Gap(fault, True, 4_000, 5_000)] if fault else []
    return Round(number, fault, kills, tuple(gaps), 9_000, 4_000, False)


def test_each_kill_counts_once_and_the_processes_of_one_blow_are_told_apart() -> None:
    log = Log(7)
    log.rounds = [
        a_round(0, "disk full", Kill("worker at send.after", 1), Kill("postgres, all of it", 2, 20))
    ]
    share = share_of(log, 60)
    assert (share.figures["kills"], share.figures["processes_killed"]) == (2, 21)
    assert share.sets["kill_points_taken"] == ["worker at send.after"]
    assert "worker at send.after" in share.sets["kill_points_existing"]
    assert [row["what is struck"] for row in share.table] == [
        "disk full",
        "postgres, all of it",
        "worker at send.after",
    ]


def test_a_row_tells_the_middle_and_the_longest_time_without_service() -> None:
    gaps = [Gap("worker", False, ms, 2 * ms) for ms in (100, 200, 4_000)]
    [row] = rows_of(1, [Kill("worker", 1)] * 3, gaps)
    assert row["times"] == 3
    assert row["no reservation admitted, median and most, s"] == "0.2, 4.0"
    assert row["no order at the venue, median and most, s"] == "0.4, 8.0"


def test_the_counts_of_fields_add_up_and_a_problem_is_told_once_in_a_field() -> None:
    log = Log(7)
    log.fields = [Counter(lost=1), Counter(lost=1)]
    log.tell("round 0", ["lost: a"])
    log.tell("round 1", ["lost: a", "lost: b"])
    share = share_of(log, 60)
    assert share.figures["lost"] == 2
    assert [one.what for one in share.violations] == ["round 0: lost: a", "round 1: lost: b"]
    assert share.violations[0].replay == "make prove PART=kills SEED=7"
    narrow = share_of(Log(7, "disk full", problems=["x"]), 60)
    assert narrow.violations[0].replay == "make prove PART=kills SEED=7 ONLY='disk full'"


def test_what_was_planted_and_not_found_is_a_violation() -> None:
    share = share_of_planted(1, {"forgetful": 3, "unsynced": 0}, 60)
    assert share.figures == {"planted_runs": 2, "planted_found": 1}
    [violation] = share.violations
    assert "unsynced" in violation.what
    assert not share_of_planted(1, {"forgetful": 3, "unsynced": None}, 60).violations


def test_each_fault_comes_equally_often_in_an_order_of_the_seed() -> None:
    def first(seed: int, only: str | None = None) -> list[str]:
        turns = faults_of(SeededRng(seed), only)
        return [next(turns) for _ in range(18)]

    assert all(first(1).count(name) == 2 for name in set(first(1)))
    assert "" in first(1)
    assert first(1) == first(1) != first(2)
    assert set(first(1, "disk full")) == {"disk full"}


def test_an_unknown_fault_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing was killed"):
        run(Request(1, 1, True, tmp_path, only="earthquake"))


def test_nobody_is_to_die_at_a_point_while_nobody_else_is_there(tmp_path: Path) -> None:
    crowd, nursery, _, seat = a_crowd(tmp_path)
    crowd.mortal = True
    for _ in range(20):
        crowd.kill(seat)
        crowd.tend()
    assert not any("LEDGER_TEST_STOP_AT" in one for one in nursery.env)


# --- what the independent auditor is told ---------------------------------------------------------------


def test_a_question_whose_asker_died_is_a_call_without_an_answer() -> None:
    asks = [replace(asked("a"), at_ms=10), replace(asked("a"), at_ms=50)]
    answers = [
        Answer("a", "place", 60, "failed", code="DATABASE_UNREACHABLE"),
        Answer("a", "place", 70, "admitted", order_id=5, size_micros=1, replay=True),
    ]
    assert len(orders_of(asks, answers, "w", by_client=True)) == 4
    calls = orders_of(asks, answers, "w", by_client=False)
    assert [(one.turn, one.answered_turn) for one in calls] == [
        (10_000_000, None),
        (50_000_000, None),
        (50_000_000, 70_000_000),
    ]
    last = calls[-1].answer
    assert last is not None
    assert (last.accepted, last.order_id, last.replayed) == (True, 5, True)
    assert calls[1].answer is None
