"""A worker process that tests start: the product's own start, and the means to hold it at a point.

``TEST_PAUSE_AT=send.after:2`` stops the process (SIGSTOP) when it reaches that point for the second
time; whoever sends SIGCONT lets it go on, unaware. Death at a point is the product's own
``LEDGER_TEST_STOP_AT``. ``TEST_DIE_AFTER_STEP=7`` kills it behind the seventh thing that its start does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, Final

from app.config import load_settings
from app.ledger.calls import LedgerCalls
from app.venue.polymarket.transport import Transport
from workers.worker import main, points


def paused_at(wanted: str) -> points.Reached:
    """Stop this process once, when the named point is reached for the given time."""
    name, _, count = wanted.partition(":")
    assert name in (*points.POINTS, *points.WITHDRAWAL_POINTS), name
    left = [int(count or "1")]

    def pause(point: str) -> None:
        if point == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGSTOP)

    return pause


OF_THE_START: Final = ("starting", "accounts", "start-")
"""Names of the tasks that a start is made of; all others run beside it."""


def die_after(step: int) -> None:
    """Count each call of the ledger and each request to the venue by the start; behind one of them is the end."""
    left = [step]

    def done(name: str) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith(OF_THE_START):
            left[0] -= 1
            if left[0] == 0:
                print(f"STEP {name} {step}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(owner: type, method: str) -> None:
        original = getattr(owner, method)

        async def call(self: Any, what: Any, *arguments: Any, **more: Any) -> Any:
            answer = await original(self, what, *arguments, **more)
            name = str(getattr(what, "name", what)).split("\n")[0].split(" ")[0]
            done(name if name != "SELECT" else "rows")
            return answer

        setattr(owner, method, call)

    for method in ("value", "rows"):
        counted(LedgerCalls, method)
    counted(Transport, "request")


def run() -> int:
    """The product's own start, under what the environment asks for."""
    if "TEST_DIE_AFTER_STEP" in os.environ:
        die_after(int(os.environ["TEST_DIE_AFTER_STEP"]))
    if "TEST_PAUSE_AT" in os.environ:
        points.from_environment = lambda: paused_at(os.environ["TEST_PAUSE_AT"])
    return main.run(load_settings())
