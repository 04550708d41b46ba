"""What happened in the demo, beside what writers and venue wrote down themselves; and waiting for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from app.clock import Clock

Condition: TypeAlias = Callable[[], bool | Awaitable[bool]]


@dataclass(slots=True)
class Course:
    """Filled in as the demo goes on."""

    worker_kills: list[str] = field(default_factory=list)
    """At which point each died; ``anywhere`` for a kill by hand."""
    writer_kills: int = 0
    graceful_stops: int = 0
    unexpected: list[str] = field(default_factory=list)
    """Processes that ended in a way nobody asked for, and what did not happen in time."""
    unsettled: dict[str, int] = field(default_factory=dict)
    """What still moved when the demo stopped waiting."""


async def until(
    clock: Clock,
    condition: Condition,
    within_s: float,
    *,
    while_true: Callable[[], bool] | None = None,
) -> bool:
    """Wait for ``condition``, not longer than ``within_s`` nor than ``while_true`` holds. Whether it came."""
    deadline = clock.monotonic_ns() + int(within_s * 1e9)
    while clock.monotonic_ns() < deadline and (while_true is None or while_true()):
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return True
        await clock.sleep(0.05)
    return False
