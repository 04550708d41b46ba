"""A comparison that is asked for while one runs is made: what runs may have read already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from app.observe import logs
from app.observe.logs import Logger
from workers.reconcile import Reconciler
from workers.worker import serving
from workers.worker.context import Context
from workers.worker.serving import Serving


@dataclass
class Only:
    """As much of a `Context` as is needed."""

    shared: Any = field(default_factory=lambda: SimpleNamespace(compare_soon={"main"}))
    ports: Ports = field(default_factory=Ports.system)

    def named(self, component: str) -> Logger:
        return logs.get_logger(component)

    def jitter_ms(self, ms: int) -> int:
        return ms


@dataclass
class Runs:
    """A `Reconciler` that ends as it is told, and ``meanwhile`` something happens."""

    ends: str
    meanwhile: Callable[[], None] = lambda: None

    async def run(self, kind: str, *, second_look: bool) -> Any:
        self.meanwhile()
        if self.ends == "raises":
            raise DatabaseProblem(Code.DATABASE_BUSY, "busy", not_done="nothing", next_step="wait")
        return SimpleNamespace(result=self.ends)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(context: Context, ms: int) -> None:
        return None

    monkeypatch.setattr(serving, "pause", pause)


async def compared(only: Only, runs: Runs) -> bool:
    """Whether another comparison is wanted behind this one."""
    context, reconciler = cast(Context, only), cast(Reconciler, runs)
    await Serving(context)._compare("main", reconciler, 300_000)
    return "main" in only.shared.compare_soon


@pytest.mark.parametrize("ends", ["clean", "drift"])
async def test_one_that_ended_answers_what_was_asked_before_it(ends: str) -> None:
    assert not await compared(Only(), Runs(ends))


async def test_what_is_asked_for_while_one_runs_is_kept() -> None:
    only = Only()
    assert await compared(only, Runs("clean", lambda: only.shared.compare_soon.add("main")))


@pytest.mark.parametrize("ends", ["incomplete", "raises"])
async def test_one_that_came_to_nothing_is_made_again(ends: str) -> None:
    assert await compared(Only(), Runs(ends))
