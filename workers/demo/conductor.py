"""Plays the script: rounds of bursts, and what goes wrong meanwhile.

The conductor has writers and workers started and killed, halts and suspends markets, orders the
venue's misbehaviour, and lets the venue's own time pass: a venue does not stop when a worker dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from app.clock import Rng
from app.db.connect import open_pool
from app.ledger.calls import LedgerCalls
from app.venue.paper import Fault
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
from workers.demo.workforce import POINTS, Workforce
from workers.worker.context import Context
from workers.worker.paper_host import PaperHost

Tell: TypeAlias = Callable[[str], None]

BOTH_IN: Final = (2, 4)
"""Rounds in which the worker that is to die has a living colleague."""

WRITERS_DIE_IN: Final = (3, 5)
ROUND_LASTS_S: Final = 5.0
"""At least: limits of a minute and gaps of seconds need time to let something pass again."""

SETTLED_WITHIN_S: Final = 30.0


class Conductor:
    """One performance."""

    def __init__(
        self,
        stage: Stage,
        script: Script,
        context: Context,
        processes: Processes,
        folder: Path,
        rng: Rng,
        tell: Tell,
    ) -> None:
        self._stage = stage
        self._context = context
        self._ports = context.ports
        self._rng = rng
        self._tell = tell
        self._calls: dict[str, LedgerCalls] = {}
        self.course = Course()
        self._writers = Writers(
            stage.url("trader"), script, processes, folder, self._ports, rng, self.course
        )
        self._workforce = Workforce(
            processes, stage.worker_env(), self._started, self._ports.clock, rng, self.course
        )

    async def play(self) -> Course:
        """All of it, from the first round until nothing moves any more."""
        stage = self._stage
        urls = {role: stage.url(role) for role in ("worker", "risk")} | {"owner": stage.owner_url}
        for role, url in urls.items():
            pool = await open_pool(url, role_hint="demo", min_size=0, max_size=2)
            self._calls[role] = LedgerCalls(pool)
        pacing = self._ports.tasks.spawn(self._pace(), name="demo-pace")
        try:
            await self._order_misbehaviour()
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
        await workforce.ensure()
        mortal = None
        if point:
            mortal = await workforce.start_mortal(point, alone=number not in BOTH_IN)
        halt = await self._halt(HALTED_MARKET) if number == HALT_IN else None
        if number == SUSPEND_IN:
            await self._suspend(SUSPENDED_MARKET)
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
        await until(self._ports.clock, suspended, 3.0)
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
        self._tell("waiting until ledger and venue have settled")
        await until(self._ports.clock, self._is_settled, SETTLED_WITHIN_S)
        pacing.cancel()
        await self._workforce.stop_all()
        await self._is_settled()

    async def _is_settled(self) -> bool:
        [row] = await self._read("unsettled")
        self.course.unsettled = {name: count for name, count in row.items() if count}
        return not self.course.unsettled

    # --- the venue --------------------------------------------------------------------------------

    async def _pace(self) -> None:
        while True:
            for name, one_pass, _ in self._context.host.passes(self._context):
                if name == "pace":
                    await one_pass()
            await self._ports.clock.sleep(0.15)

    async def _order_misbehaviour(self) -> None:
        """So that fates are unknown for other reasons than kills, too."""
        host = self._context.host
        assert isinstance(host, PaperHost), "the demo's settings name the paper venue"
        for op, kind, every, times, fault in _FAULTS:
            for nth in range(times):
                skip = every * nth + self._rng.bits(16) % every
                await host.venue.faults.inject(op, kind, skip=skip, fault=fault)

    async def _read(self, name: str, *arguments: Any) -> list[dict[str, Any]]:
        return await self._calls["owner"].rows(statement(name), *arguments)


def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (Path(__file__).resolve().parent / "sql" / f"{name}.sql").read_text("utf-8")


_FAULTS: Final = (
    ("place", "drop_answer", 40, 4, Fault("drop_answer")),
    ("place", "lost_request", 60, 3, Fault("lost_request")),
    ("place", "appear_late", 70, 3, Fault("appear_late", late_ms=900)),
    ("place", "http", 45, 3, Fault("http", http_status=425, retry_after_ms=400, text="restarting")),
    ("place", "http", 80, 2, Fault("http", http_status=503, retry_after_ms=300, text="disabled")),
    ("place", "delay", 50, 3, Fault("delay", before_ms=250, after_ms=150)),
    ("cancel", "drop_answer", 12, 2, Fault("drop_answer")),
    ("cancel", "cancel_miss", 15, 2, Fault("cancel_miss")),
    ("cancel", "http", 20, 1, Fault("http", http_status=429, retry_after_ms=300, text="slow down")),
    ("order", "unread", 20, 2, Fault("unread")),
    ("order", "null", 30, 1, Fault("null")),
    ("events", "silent", 20, 2, Fault("silent")),
)
"""Operation, kind, about every how many calls, how often, and what exactly."""
