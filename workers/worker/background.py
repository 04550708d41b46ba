"""Work that a task starts and does not wait for, so that one slow answer holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from workers.worker.context import Context


class Background:
    """Keeps what was started; an error that nobody foresaw is raised by the next `check`."""

    def __init__(self, context: Context) -> None:
        self._tasks = context.ports.tasks
        self._running: set[asyncio.Task[None]] = set()
        self._failed: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = self._tasks.spawn(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed.append(task)

    def check(self) -> None:
        """Raise what ended one of them, which ends the worker: a fresh start is better tested."""
        for task in self._failed:
            task.result()

    async def drain(self, within_s: float) -> None:
        """Wait for what is running, at most ``within_s``. Nothing is cut: what takes longer goes on."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=within_s)
        self.check()
