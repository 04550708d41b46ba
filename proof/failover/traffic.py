"""The traffic that a failover interrupts: writers, workers and the venue, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, SeededRng
from proof.failover.ground import Addresses
from proof.live.ground import levels_of
from proof.live.load import Plan
from proof.live.measuring import Told
from workers.demo.course import Course, until
from workers.demo.processes import Child, Processes
from workers.demo.simulated import Simulated
from workers.demo.stage import MAIN, PREFIX, Stage

ROUTES: Final = ("haproxy", "hosts")
"""Through the proxy, or by a list of all hosts of which the primary is taken."""

WRITERS: Final = 4
START_S: Final = 60.0
STARTED: Final = '"event": "STARTED"'
STOP_S: Final = 20.0
PAUSE_S: Final = 60.0
RECONCILE_S: Final = 120.0


@dataclass(slots=True)
class Writer:
    """One that asks, and what it was told."""

    child: Child
    told: Told
    said: asyncio.Queue[str] = field(default_factory=asyncio.Queue)


class Traffic:
    """Started once per cluster; the same processes live through all failovers."""

    def __init__(
        self, stage: Stage, addresses: Addresses, ports: Ports, processes: Processes, folder: Path
    ) -> None:
        self.stage = stage
        self.course = Course()
        self.folder = folder
        self._addresses = addresses
        self._ports = ports
        self._processes = processes
        self._writers: list[Writer] = []
        self._workers: dict[str, Child] = {}
        self._hearing: list[asyncio.Task[Any]] = []
        self._venue: Simulated | None = None
        self.worker_starts = 0

    @property
    def venue(self) -> Simulated:
        assert self._venue is not None, "the traffic was not started"
        return self._venue

    @property
    def told(self) -> list[Told]:
        """What every writer was told, up to now."""
        for one in self._writers:
            one.told.read_on()
        return [one.told for one in self._writers]

    async def start(self) -> None:
        """The venue, a worker and two writers on each route; nobody asks yet."""
        rng = SeededRng(self.stage.seed)
        self._venue = await Simulated.open(self.stage, self._processes, self.folder, rng)
        levels = levels_of(await self._venue.grounds())
        await self.ensure_workers()
        for number in range(WRITERS):
            route = ROUTES[number % len(ROUTES)]
            plan = Plan(f"w{number}", self.stage.seed * WRITERS + number, levels)
            file = self.folder / f"writer-{number}.plan.json"
            file.write_text(plan.to_json(), "utf-8")
            record = self.folder / f"writer-{number}.record.json"
            child = await self._processes.start(
                f"writer-{number}",
                "proof.live.load",
                *(str(file), str(record)),
                env={"LEDGER_DATABASE_URL": self._url(route, "trader")},
                talks=True,
            )
            writer = Writer(child, Told(record, route))
            self._writers.append(writer)
            self._hearing.append(self._ports.tasks.spawn(_hear(writer), name="hear a writer"))
        for writer in self._writers:
            await self._heard(writer, "ready", START_S)

    async def aclose(self) -> None:
        for task in self._hearing:
            task.cancel()
        if self._venue is not None:
            await self._venue.aclose()

    def _url(self, route: str, role: str) -> str:
        name = PREFIX.role(role)
        return (
            self._addresses.url(name) if route == "haproxy" else self._addresses.of_all_hosts(name)
        )

    # --- writers --------------------------------------------------------------------------------------

    def go(self) -> None:
        for writer in self._writers:
            writer.child.tell("go")

    async def pause(self) -> None:
        """Nobody asks any more, and each question has its answer."""
        for writer in self._writers:
            writer.child.tell("pause")
        for writer in self._writers:
            await self._heard(writer, "paused", PAUSE_S)

    async def end_writers(self) -> None:
        for writer in self._writers:
            writer.child.tell("end")
        for writer in self._writers:
            code = await writer.child.end(STOP_S)
            if code != 0:
                self._unexpected(f"{writer.child.name} ended with exit code {code}")

    async def _heard(self, writer: Writer, word: str, within_s: float) -> None:
        if not writer.child.alive:
            within_s = min(within_s, 1.0)  # what it said before may still be on its way
        try:
            async with asyncio.timeout(within_s):
                while (said := await writer.said.get()) not in (word, ""):
                    pass
        except TimeoutError:
            said = "nothing"
        if said != word:
            why = f"did not say {word!r} within {within_s:.0f} s" if said else "has ended"
            self._unexpected(f"{writer.child.name} {why}")

    async def served_since(self, route: str, at_ms: int, within_s: float) -> bool:
        """Whether a writer of this route was admitted after that moment, waiting for it."""

        def served() -> bool:
            mine = [told for told in self.told if told.route == route]
            return any(told.admitted_ms and told.admitted_ms[-1] > at_ms for told in mine)

        return await until(self._ports.clock, served, within_s)

    # --- workers --------------------------------------------------------------------------------------

    async def ensure_workers(self) -> None:
        """One on each route, past its start. That one ended by itself is a finding; another takes its place."""
        fresh = []
        for route in ROUTES:
            child = self._workers.get(route)
            if child is not None and child.alive:
                continue
            if child is not None:
                self._unexpected(f"{child.name} ended with exit code {child.process.returncode}")
                await self._processes.forget(child)
            self.worker_starts += 1
            env = await self.venue.worker_env()
            self._workers[route] = await self._processes.start(
                f"worker-{route}-{self.worker_starts}",
                "workers.cli",
                "start",
                env=env | {"LEDGER_DATABASE_URL": self._url(route, "worker")},
            )
            fresh.append(self._workers[route])
        for child in fresh:
            # A start that cannot connect gives up, as it says: what is tried here is the worker that runs.
            await until(
                self._ports.clock,
                partial(self._has_started, child),
                START_S,
                while_true=partial(_alive, child),
            )

    def _has_started(self, child: Child) -> bool:
        log = self.folder / f"{child.name}.log"
        return log.exists() and STARTED in log.read_text("utf-8", "replace")

    async def stop_workers(self) -> None:
        """By SIGTERM, as an operator would."""
        for child in self._workers.values():
            child.signal(signal.SIGTERM)
        for child in self._workers.values():
            code = await child.end(STOP_S)
            if code != 0:
                self._unexpected(f"{child.name} ended with exit code {code} after SIGTERM")
            if code is None:
                child.signal(signal.SIGKILL)
                await child.process.wait()
            await self._processes.forget(child)
        self._workers.clear()

    async def reconcile(self) -> str:
        """By the command, in a process of its own; ``clean``, or what it said."""
        env = await self.venue.worker_env() | {
            "LEDGER_DATABASE_URL": self._url("haproxy", "worker")
        }
        return await self._command(("reconcile", "--json", "--account", MAIN), env, "result")

    async def audit(self) -> str:
        """``ledger-worker audit`` as the auditor: ``True``, or what it said."""
        env = {"LEDGER_DATABASE_URL": self._url("haproxy", "auditor")}
        return await self._command(("audit", "--json"), env, "ok")

    async def _command(self, words: tuple[str, ...], env: dict[str, str], field_name: str) -> str:
        child = await self._processes.start(words[0], "workers.cli", *words, env=env, talks=True)
        assert child.process.stdout is not None
        try:
            async with asyncio.timeout(RECONCILE_S):
                text = await child.process.stdout.read()
                await child.process.wait()
        except TimeoutError:
            return f"{words[0]} did not end in {RECONCILE_S:.0f} s"
        await self._processes.forget(child)
        try:
            told = json.loads(text)
        except ValueError:
            return text.decode(errors="replace")[-500:]
        found = told.get(field_name)
        return str(found) if found in ("clean", True) else json.dumps(told)[:1500]

    def _unexpected(self, what: str) -> None:
        self.course.unexpected.append(what)


def _alive(child: Child) -> bool:
    return child.alive


async def _hear(writer: Writer) -> None:
    stdout = writer.child.process.stdout
    assert stdout is not None
    while line := await stdout.readline():
        writer.said.put_nowait(line.decode().strip())
    writer.said.put_nowait("")
