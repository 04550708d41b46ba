"""Plays the script: rounds of bursts, and what goes wrong meanwhile.

The conductor has writers and workers started and killed, halts and suspends markets, orders the
venue's misbehaviour and its end, and lets the venue's own time pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from app.clock import Ports, Rng
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from workers.demo.course import Course, until
from workers.demo.processes import Processes
from workers.demo.script import (
    HALT_IN,
    HALTED_MARKET,
    QUIET,
    ROUNDS,
    SUSPEND_IN,
    SUSPENDED_MARKET,
    WRITERS,
    Script,
)
from workers.demo.seats import Writers
from workers.demo.stage import Stage
from workers.demo.venues import DemoVenue, statement
from workers.demo.workforce import POINTS, Workforce

Tell: TypeAlias = Callable[[str], None]

BOTH_IN: Final = (2, 4)
"""Rounds in which the worker that is to die has a living colleague."""

WRITERS_DIE_IN: Final = (3, 5)
ROUND_LASTS_S: Final = 5.0
"""At least: limits of a minute and gaps of seconds need time to let something pass again."""


SUSPENDED_WITHIN_S: Final = 8.0


class Conductor:
    """One performance."""

    def __init__(
        self,
        stage: Stage,
        script: Script,
        venue: DemoVenue,
        ports: Ports,
        processes: Processes,
        folder: Path,
        rng: Rng,
        tell: Tell,
    ) -> None:
        self._stage = stage
        self._venue = venue
        self._ports = ports
        self._processes = processes
        self._rng = rng
        self._tell = tell
        self._calls: dict[str, LedgerCalls] = {}
        self.course = Course()
        self._writers = Writers(
            stage.url("trader"), script, processes, folder, self._ports, rng, self.course
        )

    async def play(self) -> Course:
        """All of it, from the first round until nothing moves any more."""
        stage = self._stage
        self._workforce = Workforce(
            self._processes,
            await self._venue.worker_env(),
            self._started,
            self._ports.clock,
            self._rng,
            self.course,
            self._venue.patience.dies,
        )
        urls = {role: stage.url(role) for role in ("worker", "risk")} | {"owner": stage.owner_url}
        for role, url in urls.items():
            pool = await open_pool(url, role_hint="demo", min_size=0, max_size=2)
            self._calls[role] = LedgerCalls(pool)
        pacing = self._ports.tasks.spawn(self._venue.let_time_pass(), name="demo-pace")
        try:
            await self._venue.misbehave(0)
            self._tell(f"{WRITERS} writers and the worker are starting")
            await self._writers.start()
            for number in range(ROUNDS):
                await self._round(number)
            await self._finish(pacing)
        finally:
            pacing.cancel()
            for calls in self._calls.values():
                calls.pool.terminate()
        return self.course

    # --- rounds -----------------------------------------------------------------------------------

    async def _round(self, number: int) -> None:
        clock, workforce = self._ports.clock, self._workforce
        began_ns = clock.monotonic_ns()
        # Kills are spread: one in each round but the first and the last two.
        point = POINTS[number - 1] if 1 <= number <= len(POINTS) else ""
        dies = f", the worker is to die at {point}" if point else ""
        self._tell(f"round {number + 1} of {ROUNDS}: a burst{dies}")
        if number:
            await self._venue.misbehave(number)
        await workforce.ensure()
        if number == SUSPEND_IN:
            # Before there is one to die: it may do so at once, and a dead worker suspends nothing.
            await self._suspend(SUSPENDED_MARKET)
        mortal = None
        if point:
            mortal = await workforce.start_mortal(point, alone=number not in BOTH_IN)
        halt = await self._halt(HALTED_MARKET) if number == HALT_IN else None
        self._writers.go(number)
        if number in WRITERS_DIE_IN:
            await self._writers.kill_two(number)
        await self._writers.finish(number)
        if mortal is not None:
            await workforce.let_die(mortal, point)
        if halt is not None:
            await self._resume(HALTED_MARKET, halt)
        rest_ns = began_ns + int(ROUND_LASTS_S * 1e9) - clock.monotonic_ns()
        await clock.sleep(max(0, rest_ns) / 1e9)

    def _market(self, place: int) -> str | None:
        """The market at ``place``, if there are enough that the others remain."""
        markets = self._stage.cast.markets
        return markets[place].condition_id if place < len(markets) else None

    async def _halt(self, place: int) -> int | None:
        market = self._market(place)
        if market is None:
            return None
        why = "the demo halts it for a round"
        return int(await self._calls["risk"].value("set_halt", "market", market, why, "demo"))

    async def _resume(self, place: int, version: int) -> None:
        why = "the round is over"
        await self._calls["risk"].value(
            "clear_halt", "market", self._market(place), version, why, "demo"
        )

    async def _suspend(self, place: int) -> None:
        """A cap lowered under what is held is a breach: the market is suspended, its orders cancelled."""
        market = self._market(place)
        if market is None:
            return
        risk, name = self._calls["risk"], "max_outcome_micros"
        why = "lowered under the holdings, to see the market suspended"

        async def suspended() -> bool:
            [row] = await self._read("suspended", market)
            return bool(row["suspended"])

        before = await risk.value("set_limit", None, market, name, "0", why)
        await until(self._ports.clock, suspended, SUSPENDED_WITHIN_S)
        await risk.value("set_limit", None, market, name, before, "as before")

    async def _started(self) -> int:
        [row] = await self._read("started_workers")
        return int(row["started"])

    # --- the end ----------------------------------------------------------------------------------

    async def _finish(self, pacing: asyncio.Task[Any]) -> None:
        self._tell("the last writers, then cancels of all but the quietest orders")
        await self._writers.end()
        await self._workforce.ensure()
        items = [
            {"order_id": row["order_id"], "reason": "the demo ends"}
            for row in await self._read("standing")
            if QUIET not in row["key"].split("-")
        ]
        if items:
            await self._calls["worker"].items("request_cancel", items)
        await self._venue.behave()
        self._tell("waiting until ledger and venue have settled")
        await until(self._ports.clock, self._is_settled, self._venue.patience.settles)
        pacing.cancel()
        await self._workforce.stop_all()
        await self._is_settled()

    async def _is_settled(self) -> bool:
        [row] = await self._read("unsettled")
        found = {name: count for name, count in row.items() if count}
        if not found:  # the venue is asked last: it may be far away
            found = {
                n: count for n, count in await self._venue.unsettled(self._calls["owner"]) if count
            }
        self.course.unsettled = found
        return not self.course.unsettled

    async def _read(self, name: str, *arguments: Any) -> list[dict[str, Any]]:
        return await self._calls["owner"].rows(statement(name), *arguments)
