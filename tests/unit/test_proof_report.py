"""Shares of a campaign add up and are never counted twice; a part that never ran stands with nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof import report
from proof.__main__ import PARTS
from proof.keeping import Shelf
from proof.machine import ROOT
from proof.parts import Share, Violation


def hashes(folder: Path, name: str, *numbers: int) -> Path:
    path = folder / name
    path.write_bytes(b"".join(one.to_bytes(8, "big") for one in numbers))
    return path


def test_figures_add_up_sets_unite_and_equal_schedules_count_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept")
    for name, points, schedules in (("a", ["p1"], (1, 2)), ("b", ["p1", "p2"], (2, 3))):
        shelf.keep(
            Share(
                part="simulation",
                seconds=2.0,
                figures={"simulated_ms": 1_800_000},
                sets={"crash_points_existing": ["p1", "p2", "p3"], "crash_points_taken": points},
                hashes=hashes(tmp_path, name, *schedules),
                violations=[Violation(7, "lost", "make prove")] if name == "b" else [],
            )
        )
    made = report.compose(shelf, "abc")
    assert (made["schedules"], made["simulated_hours"], made["duration_s"]) == (3, 1.0, 4)
    assert made["crash_points"] == {"existing": 3, "taken": 2}
    assert [one["seed"] for one in made["violations"]] == [7]
    assert (made["kills"], made["failovers"], made["fuzz_inputs"]) == (0, 0, 0)


def test_a_schedule_on_the_model_and_on_the_real_sql_is_one(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept")
    shelf.keep(Share("simulation", 1.0, hashes=hashes(tmp_path, "a", 1, 2)))
    shelf.keep(Share("model", 1.0, hashes=hashes(tmp_path, "b", 2, 3, 4)))
    made = report.compose(shelf, "abc")

    assert made["schedules"] == 4
    assert made["schedules_on_real_sql"] == 2
    assert made["schedules_on_model"] == 3


def test_a_mutant_that_is_killed_later_is_killed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.keep(Share("mutation", 1.0, sets={"killed": ["a"], "alive": ["b", "c"]}))
    shelf.keep(Share("mutation", 1.0, sets={"killed": ["b"], "alive": []}))
    made = report.compose(shelf, "abc")
    assert made["mutants"] == {"killed": 2, "alive": 1, "explained": 0}
    assert made["mutation_score"] == pytest.approx(2 / 3, abs=1e-4)


def test_half_a_digest_is_an_error_and_no_schedule(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"12345678123")
    with pytest.raises(ValueError, match="middle of a digest"):
        Shelf(tmp_path / "kept").keep(Share("simulation", 1.0, hashes=broken))


def test_every_part_that_the_command_names_is_there() -> None:
    assert [name for name in PARTS if not (ROOT / "proof" / name / "part.py").is_file()] == []
