"""The failover campaign's own judgement: each fault is put in once and must show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import BadInput
from proof.failover import packages
from proof.failover.part import Log, kinds_of, share_of, share_of_planted
from proof.failover.rounds import KINDS, Round
from proof.live.judging import gaps, unanswered
from proof.live.measuring import Told, longest_gap, middle, missing
from workers.demo.records import Answer


def a_round(number: int = 0, *, lost: tuple[str, ...] = (), leader: str = "node2") -> Round:
    outages = {"haproxy": 4_000 + number, "hosts": 5_000}
    return Round(number, "machine", "node1", leader, 3_000, outages, 6_000, lost, (), 20_000)


def admitted(order_id: int, at_ms: int, via: str = "place") -> str:
    told = {
        "key": f"k{order_id}",
        "via": via,
        "at_ms": at_ms,
        "status": "admitted",
        "code": "",
        "order_id": order_id,
        "size_micros": 1,
        "replay": False,
    }
    return "\n" + json.dumps({"Answer": told}) + "\n"


# --- time without service -----------------------------------------------------------------------------


def test_the_time_without_service_begins_with_the_last_admission_before_the_blow() -> None:
    assert longest_gap([100, 900, 1_000, 6_000, 6_100], since_ms=1_200, until_ms=7_000) == 5_000


def test_a_gap_that_was_over_before_the_blow_does_not_count() -> None:
    assert longest_gap([100, 5_000, 5_100, 5_200], since_ms=5_050, until_ms=5_300) == 100


def test_a_service_that_never_came_back_lasts_to_the_end() -> None:
    assert longest_gap([1_000], since_ms=1_200, until_ms=9_000) == 8_000
    assert longest_gap([], since_ms=1_200, until_ms=9_000) == 7_800


def test_the_middle_of_an_even_number_is_the_lower() -> None:
    assert (middle([4, 1, 3, 2]), middle([7]), middle([])) == (2, 7, 0)


# --- what was promised --------------------------------------------------------------------------------


def test_a_promised_order_that_is_gone_or_has_another_key_is_missing() -> None:
    found = missing({1: "a", 2: "b", 3: "c"}, {1: "a", 3: "x"})
    assert len(found) == 2
    assert "order 2 under key b" in found[0]
    assert "no such order" in found[0]
    assert "under key x" in found[1]


def test_a_record_is_read_as_it_grows_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    told = Told(path, "hosts")
    told.read_on()
    line = admitted(2, 20)
    path.write_text(admitted(1, 10) + line[:30])
    told.read_on()
    assert told.orders == {1: "k1"}
    path.write_text(admitted(1, 10) + line + admitted(3, 30, via="again"))
    told.read_on()
    assert told.orders == {1: "k1", 2: "k2", 3: "k3"}
    assert told.admitted_ms == [10, 20]


def test_a_key_whose_last_word_is_a_failure_is_unanswered() -> None:
    answers = (
        Answer("a", "place", 1, "failed", code="DATABASE_UNREACHABLE"),
        Answer("a", "place", 2, "admitted", order_id=1),
        Answer("b", "place", 3, "failed", code="NOT_DURABLE"),
    )
    [found] = unanswered(answers)
    assert " b:" in found


def test_a_gap_of_the_journal_is_a_problem() -> None:
    [found] = gaps([{"account_id": 1, "rows": 9, "numbers": 9, "first": 1, "last": 10}])
    assert "account 1 has 9 rows" in found


# --- the share ----------------------------------------------------------------------------------------


def test_each_kind_of_blow_comes_equally_often_in_an_order_of_the_seed() -> None:
    chosen = kinds_of(7, None, 4 * len(KINDS))
    assert {kind: chosen.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 4)
    assert chosen == kinds_of(7, None, 4 * len(KINDS))
    assert len({tuple(kinds_of(seed, None, 8)) for seed in range(5)}) > 1
    assert kinds_of(7, "cut", 3) == ["cut"] * 3


def test_what_is_lost_in_a_round_is_a_violation_with_its_replay() -> None:
    log = Log(7, rounds=[a_round(0, lost=("order 5",)), a_round(1, lost=("order 5",))], judged=2)
    for one in log.rounds:
        log.lost += log.tell(f"round {one.number}", one.lost)
    log.figures["lost"] = 1  # as the judgement counts it once more
    share = share_of(log, 60)
    assert share.figures["lost"] == 1
    assert share.figures["failovers"] == 2
    [violation] = share.violations
    assert violation.seed == 7
    assert violation.replay == "make prove PART=failover SEED=7"


def test_a_primary_that_stayed_is_no_failover_and_rounds_not_judged_are_told() -> None:
    share = share_of(Log(1, rounds=[a_round(0), a_round(1, leader="node1")], judged=1), 60)
    assert share.figures["failovers"] == 1
    assert share.figures["not_judged"] == 1
    assert len(share.sets["without_service_ms"]) == 4


def test_asynchronous_replication_that_loses_nothing_is_a_violation() -> None:
    assert share_of_planted(Log(1, rounds=[a_round()]), 60).violations
    found = share_of_planted(Log(1, rounds=[a_round()], lost=1), 60)
    assert not found.violations
    assert found.figures == {"planted_runs": 1, "planted_found": 1, "planted_lost": 1}


# --- programs -----------------------------------------------------------------------------------------


def test_missing_packages_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        packages.find(path=str(tmp_path), postgres=tmp_path)
    text = str(caught.value)
    assert "no failover was tried" in text
    for name in ("patroni", "etcd-server", "haproxy", "postgresql-15"):
        assert name in text


def test_half_an_installed_server_counts_as_missing(tmp_path: Path) -> None:
    binaries = tmp_path / "15" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "postgres").touch()
    assert "postgresql-15" in packages.missing(postgres=tmp_path)
    for name in packages.NEEDED_OF_POSTGRES:
        (binaries / name).touch()
    assert "postgresql-15" not in packages.missing(postgres=tmp_path)
