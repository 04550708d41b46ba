"""The model answers as the real SQL does, a planted difference is found, and what it does not know it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proof.model import part, sending, settling
from proof.model.both import Both
from proof.model.part import COVERED, Sum, compared
from proof.model.store import FUNCTIONS, ModelStore
from proof.model.tables import Tables
from proof.model.values import NotModelled
from proof.parts import Request
from proof.simulation import schedule
from proof.simulation.actors import be_silent
from proof.simulation.postgres import PostgresStore
from proof.simulation.scenarios import SMALL
from proof.simulation.stage import furnish
from tests.support.servers import TestServer
from tests.support.simulated import simulated


@pytest.fixture(name="real", scope="module")
def _real(database_server: TestServer, template_database: str) -> Iterator[PostgresStore]:
    with simulated(database_server, template_database) as (store, _):
        yield store


@pytest.fixture(name="both")
def _both(real: PostgresStore) -> Both:
    return Both(real, model())


def model() -> ModelStore:
    be_silent()
    made = ModelStore()
    furnish(made)
    return made


@pytest.mark.parametrize("name", [*COVERED, *SMALL])
def test_both_answer_alike_through_a_schedule(both: Both, name: str) -> None:
    outcome, differs = compared(both, 4, name)

    assert differs == ""
    assert outcome.violations == []
    assert both.compared > 60


def test_an_amount_that_is_one_micro_off_is_found(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by = settling.held_by
    monkeypatch.setattr(settling, "held_by", lambda *about: held_by(*about) and held_by(*about) + 1)

    assert "says" in compared(both, 3, "one")[1]


def test_a_missing_row_is_found(both: Both) -> None:
    class Forgetful(ModelStore):
        def audit(self, names: Any) -> Any:
            rows = super().audit(names)
            rows["journal"] = rows["journal"][:-1]
            return rows

    both.model = Forgetful()
    furnish(both.model)
    assert "audit.journal" in compared(both, 3, "one")[1]


def test_a_seed_is_the_same_schedule_on_either(real: PostgresStore) -> None:
    other = model()
    for name in ("replace", "pair"):
        on_real = schedule.run(real, 8, name, keep=True)
        on_model = schedule.run(other, 8, name, keep=True)

        assert on_model.lines == on_real.lines
        assert on_model.digest == on_real.digest


def test_what_is_not_modelled_is_refused_and_told(tmp_path: Path) -> None:
    store = model()
    outcome = schedule.run(store, 1, "withdraw")
    total = Sum()
    total.add(outcome, store.unknown)

    assert store.unknown == "the function start_withdrawal"
    assert "not modelled" in total.violations[0].what
    assert total.digests == set()
    with pytest.raises(NotModelled, match="withdraw"):
        part.run(Request(1, 1, short=True, workdir=tmp_path, only="withdraw"))


def test_every_function_of_the_model_is_one_of_the_sql_that_may_write(real: PostgresStore) -> None:
    assert set(FUNCTIONS) <= real.volatile()


def test_a_completion_without_fence_is_found_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = sending._complete

    def unfenced(t: Tables, i: int, x: Any, outcome: str, event: str) -> Any:
        of = t.attempts[x["order_id"]]
        for one in of:
            if one.attempt == x["attempt"]:
                of[-1].outcome, of[-1].incarnation = "open", x["incarnation"]
        return complete(t, i, x | {"attempt": of[-1].attempt}, outcome, event)

    monkeypatch.setattr(sending, "_complete", unfenced)
    store = model()

    assert any(schedule.run(store, seed, "takeover").violations for seed in range(10, 60))


def test_the_part_compares_and_counts(tmp_path: Path) -> None:
    lines: list[str] = []
    share = part.run(
        Request(seed=1, seconds=6, short=True, workdir=tmp_path, only="one", report=lines.append)
    )

    assert share.violations == []
    assert share.figures["differential_schedules"] > 0
    assert share.figures["answers_compared"] > 50
    assert share.figures["model_schedules"] > 0
    assert share.hashes is not None
    assert share.hashes.stat().st_size % 8 == 0
    assert "real SQL" in lines[0]


def test_an_order_asked_again_after_a_cancel_was_there_before_it() -> None:
    """Its bot died in the first answer; the auditor took the second asking for the first."""
    assert schedule.run(model(), 2025, "takeover").violations == []
