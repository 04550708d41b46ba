"""What the mutation part counts: named and drawn apart, nothing out of turn, and what was missed is a violation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from proof import report
from proof.keeping import Shelf
from proof.mutation import planted
from proof.mutation.mutants import Mutant
from proof.mutation.part import Sums, _missed, _revived
from proof.mutation.planted import Hunt
from proof.mutation.results import Results
from proof.mutation.running import in_drawn_order
from proof.parts import Request, Share


class Kept:
    """Verdicts by name."""

    def __init__(self, **verdicts: str) -> None:
        self._verdicts = verdicts

    def counted(self, mutant: Mutant) -> dict[str, Any] | None:
        found = self._verdicts.get(mutant.name)
        return None if found is None else {"verdict": found}


def mutant(name: str, *, named: bool = False) -> Mutant:
    return Mutant(name, "app/ledger/sql/functions/settle.sql", (), "a test", named)


def request(*, short: bool) -> Request:
    return Request(seed=7, seconds=1, short=short, workdir=Path())


GENERATED = [mutant(name) for name in "abcdef"]


def test_the_draw_is_one_order_whatever_else_there_is() -> None:
    drawn = in_drawn_order([*GENERATED, mutant("n", named=True)])
    assert sorted(one.name for one in drawn) == list("abcdef")
    assert drawn != GENERATED
    assert in_drawn_order(GENERATED[::-1]) == drawn
    assert in_drawn_order(GENERATED[:4]) == [one for one in drawn if one.name in "abcd"]


def test_of_the_drawn_only_those_count_before_which_all_were_judged() -> None:
    drawn = [one.name for one in in_drawn_order(GENERATED)]
    verdicts = {drawn[0]: "killed", drawn[1]: "alive", drawn[3]: "killed", "n": "killed"}
    named = [mutant("n", named=True), mutant("m", named=True)]
    sums = Sums.of([*GENERATED, *named], cast(Results, Kept(**verdicts)))
    assert (len(sums.named.judged), sums.named.exist, sums.named.score) == (1, 2, 1.0)
    assert (len(sums.drawn.judged), sums.drawn.exist, sums.drawn.score) == (2, 6, 0.5)


def test_the_report_tells_the_two_kinds_apart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    sets = {"named_killed": ["a"], "named_alive": ["b"], "generated_alive": ["c", "d"]}
    shelf.keep(Share("mutation", 1.0, sets=sets))
    shelf.keep(Share("mutation", 1.0, sets={"named_killed": ["b"]}))
    made = report.compose(shelf, "abc")
    assert made["mutants_named"] == {"killed": 2, "alive": 0}
    assert made["mutants_generated"] == {"killed": 0, "alive": 2}
    assert "| of the named ones: killed, alive | 2, 0 |" in report.figures(made)


def test_a_planted_bug_that_is_not_found_is_a_violation() -> None:
    found = Hunt("found", 3, 1.0, 1, "place", "one order too many")
    missed = Hunt("missed", 40, 20.0)
    [violation] = _missed(request(short=True), [found, missed])
    assert "missed" in violation.what
    assert violation.replay == "make prove PART=mutation SEED=7 ONLY=planted"


def test_a_mutant_that_was_killed_and_lives_is_a_violation_of_the_short_form() -> None:
    fresh = [(mutant("a"), {"verdict": "killed"}), (mutant("b"), {"verdict": "alive"})]
    assert [one.what for one in _revived(request(short=True), fresh)] == [
        "a mutant that was killed lives: b"
    ]
    assert _revived(request(short=False), fresh) == []


def test_three_bugs_are_planted_and_each_applies() -> None:
    assert [one.name for one in planted.bugs()] == [
        "completion without fence",
        "release on cancel accepted",
        "fill and position in two commits",
    ]
    called = {one.name: planted.entrances(one) for one in planted.bugs()}
    assert "acknowledge" in called["completion without fence"]
    assert called["release on cancel accepted"] == {"record_cancel_answers"}
    assert called["fill and position in two commits"] == {"record_fills"}
