"""The judge of the tests is judged: it must see a guard removed, leave a harmless change alive, and touch no file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from proof.mutation.coverage import Coverage
from proof.mutation.mutants import Edit, Mutant, named_mutants, source
from proof.mutation.part import score
from proof.mutation.results import Results, digest_of, digest_of_tests
from proof.mutation.running import Effort, hold

ATTEMPTS = "app/ledger/sql/functions/attempts.sql"
OUTCOMES = "app/venue/polymarket/answers/outcomes.py"
SEND_PATH = "tests/integration/test_ledger_send_path.py"
FENCED = f"{SEND_PATH}::test_an_answer_given_twice_changes_nothing_the_second_time"
TWICE = "tests/unit/test_outcomes.py::test_unmatched_is_left_to_a_read"


def narrow(**tests: str) -> Coverage:
    """A coverage of one test for each function."""
    every = dict.fromkeys(tests.values(), 0.5)
    names = {"complete": "ledger._complete", "item": f"{OUTCOMES}:_accepted"}
    return Coverage(
        every,
        {names[name]: frozenset({test}) for name, test in tests.items()},
        dict.fromkeys(every, 1),
    )


def edited(name: str, file: str, old: str, new: str) -> Mutant:
    text = source(file)
    assert text.count(old) == 1
    return Mutant(name, file, (Edit(text.index(old), old, new),), "a test of the judge")


def judged(folder: Path, coverage: Coverage, *mutants: Mutant) -> dict[str, dict[str, Any]]:
    said: list[str] = []
    hold(
        mutants,
        coverage,
        seconds=120,
        processes=1,
        effort=Effort(60, 10),
        report=said.append,
        verdicts=folder,
    )
    assert said == []
    lines = [line for path in folder.glob("pending-*") for line in path.read_text().splitlines()]
    return {one["name"]: one for one in map(json.loads, lines)}


def test_removed_guards_are_killed_and_a_harmless_change_lives(tmp_path: Path) -> None:
    planted = next(
        one for one in named_mutants() if one.name == "planted: completion without fence"
    )
    harmless = edited("harmless", ATTEMPTS, "kept as evidence');", "kept  as evidence');")
    unborn = edited("unborn", ATTEMPTS, "v_opened := NULL;", "v_opened := := NULL;")
    careless = edited("careless", OUTCOMES, 'if status == "unmatched":', 'if status == "matched":')
    before = {file: source(file) for file in (ATTEMPTS, OUTCOMES)}
    found = judged(
        tmp_path, narrow(complete=FENCED, item=TWICE), planted, harmless, unborn, careless
    )
    verdicts = {name: one["verdict"] for name, one in found.items()}
    assert verdicts == {
        planted.name: "killed",
        "harmless": "alive",
        "unborn": "stillborn",
        "careless": "killed",
    }
    assert found[planted.name]["by"] == FENCED
    assert found["careless"]["by"] == TWICE
    assert {file: Path(file).read_text("utf-8") for file in before} == before


def test_a_verdict_holds_until_the_mutant_or_its_tests_change(tmp_path: Path) -> None:
    coverage = narrow(complete=FENCED)
    mutant = edited("one", ATTEMPTS, "v_opened := NULL;", "v_opened := now();")
    kept = tmp_path / "results.jsonl"
    verdict: dict[str, object] = {
        "name": "one",
        "digest": digest_of(mutant),
        "verdict": "alive",
        "basis": digest_of_tests([FENCED]),
        "of": 1,
        "seconds": 1.0,
    }
    (tmp_path / f"pending-{os.getpid()}-0.jsonl").write_text(json.dumps(verdict) + "\n")
    assert Results(coverage, kept).take_pending([mutant]) == 1
    assert list(tmp_path.glob("pending-*")) == []
    assert Results(coverage, kept).of(mutant) is not None
    other = edited("one", ATTEMPTS, "v_opened := NULL;", "v_opened := NULL; v_now := now();")
    assert Results(coverage, kept).of(other) is None
    assert Results(narrow(complete=FENCED + "[more]"), kept).of(mutant) is None


@pytest.mark.parametrize(("killed", "alive", "found"), [(0, 0, 0.0), (19, 1, 0.95), (3, 0, 1.0)])
def test_what_was_not_judged_is_no_success(killed: int, alive: int, found: float) -> None:
    assert score(killed, alive) == found
