"""Where it happens: a server on a disk of its own, a venue with its own store, lines that can be cut, and the crowd.

What is judged between the rounds is `proof.live.judging`'s business; this is the `Traffic` that it asks for.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, Rng, SeededRng
from app.db import embedded
from app.db.access import LOGIN_ROLES
from app.db.connect import open_connection
from app.db.migrate import upgrade
from proof.kills.breeding import WALL, Wall, breeder
from proof.kills.crowd import KEPT, Crowd, Life, Seat
from proof.kills.postgres import Postgres
from proof.kills.volume import volume
from proof.live.ground import cast_of, fill, levels_of
from proof.live.load import Plan
from proof.live.measuring import Told
from tests.support.forking import Starter
from tests.support.servers import memory
from workers.demo.course import Course, until
from workers.demo.processes import Child, Processes
from workers.demo.simulated import Simulated
from workers.demo.stage import MAIN, PREFIX, Stage

WORKERS: Final = ("direct", "line", "direct")
WRITERS: Final = ("direct", "direct", "line", "direct")
"""How each of them reaches the database, and a worker the venue."""

PAUSE_S: Final = (0.05, 0.3)
TEND_S: Final = 0.05
READY_S: Final = 60.0
STOP_S: Final = 20.0
COMMAND_S: Final = 120.0
TROUBLE_MS: Final = 8_000
"""For so long after a blow to the database a start may find none."""

_CLOCK: Final = """
CREATE SCHEMA proof_clock;
CREATE SEQUENCE proof_clock.off MINVALUE 0 START 1000000000;
GRANT USAGE ON SCHEMA proof_clock TO PUBLIC;
GRANT SELECT ON proof_clock.off TO PUBLIC;
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() + (last_value - 1000000000) * interval '1 millisecond' FROM proof_clock.off $$;
"""
"""A sequence, like a real clock, is seen at once by every session."""


@dataclass(frozen=True, slots=True)
class Planted:
    """Faults that are put in on purpose, and must be found."""

    forgetful: bool = False
    unsynced: bool = False


class Field:
    """Made by `field`. A `proof.live.judging.Traffic`."""

    def __init__(
        self,
        stage: Stage,
        postgres: Postgres,
        processes: Processes,
        breeding: Starter,
        folder: Path,
        ports: Ports,
        rng: Rng,
    ) -> None:
        self.stage = stage
        self.postgres = postgres
        self.folder = folder
        self.course = Course()
        self.ports = ports
        self.rng = rng
        self.wall = Wall(folder / "wall")
        self.cancelled_all_ms: list[int] = []
        """When a judgement cancelled everything."""
        self._processes = processes
        self._breeding = breeding
        self._venue: Simulated | None = None
        self._lines: Child | None = None
        self._told: list[Told] = []
        self._troubled_ms = 0
        self._tending: asyncio.Task[Any] | None = None
        self.crowd = Crowd(breeding, folder, ports.clock, rng, self._troubled)

    @property
    def venue(self) -> Simulated:
        assert self._venue is not None
        return self._venue

    @property
    def told(self) -> list[Told]:
        for one in self._told:
            one.read_on()
        return self._told

    def trouble(self) -> None:
        """The database is struck now."""
        self._troubled_ms = self.ports.clock.now_ms()

    def _troubled(self) -> bool:
        return self.ports.clock.now_ms() - self._troubled_ms < TROUBLE_MS

    # --- starting and ending ------------------------------------------------------------------------

    async def start(self, planted: Planted) -> None:
        """The venue, the lines and everybody; nobody asks yet."""
        self._venue = await Simulated.open(
            self.stage, self._processes, self.folder, SeededRng(self.stage.seed)
        )
        levels = levels_of(await self._venue.grounds())
        env = await self._venue.worker_env()
        database, through = await self._open_lines(env)
        by_line = {name: through(value) for name, value in env.items()}
        for number, route in enumerate(WORKERS):
            chosen = dict(by_line if route == "line" else env)
            chosen["LEDGER_DATABASE_URL"] = self._url("worker", database, route)
            chosen[WALL] = str(self.wall.path)
            seat = Seat(f"worker-{number}", "worker", chosen, ("start",))
            self.crowd.seats.append(seat)
        for number, route in enumerate(WRITERS):
            plan = Plan(
                f"w{number}",
                self.stage.seed * len(WRITERS) + number,
                levels,
                PAUSE_S,
                by_sql=number % 2 == 1,
                forgets=planted.forgetful and number == 0,
            )
            file = self.folder / f"writer-{number}.plan.json"
            file.write_text(plan.to_json(), "utf-8")
            record = self.folder / f"writer-{number}.record.json"
            self._told.append(Told(record, route))
            where = {"LEDGER_DATABASE_URL": self._url("trader", database, route)}
            always = "answer.received:2" if plan.forgets else ""
            self.crowd.seats.append(
                Seat(
                    f"writer-{number}",
                    "writer",
                    where,
                    (str(file), str(record)),
                    mortal=number > 0,
                    always=always,
                )
            )
        self._tending = self.ports.tasks.spawn(self._tend(), name="tend the seats")
        await self._until_up(self.crowd.seats)

    async def aclose(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
        self.crowd.end()
        if self._venue is not None:
            await self._venue.aclose()

    async def _tend(self) -> None:
        while True:
            self.crowd.tend()
            await self.ports.clock.sleep(TEND_S)

    async def _until_up(self, seats: Sequence[Seat]) -> None:
        for seat in seats:
            if not await until(self.ports.clock, lambda seat=seat: seat.up, READY_S):  # type: ignore[misc]
                self._unexpected(f"{seat.name} was not up within {READY_S:.0f} s")

    # --- lines ----------------------------------------------------------------------------------------

    async def _open_lines(self, env: Mapping[str, str]) -> tuple[int, Callable[[str], str]]:
        """The database's port on the line, and what turns the venue's addresses into those on the line."""
        ports = sorted(
            {
                int(port)
                for name, value in env.items()
                if name.startswith("LEDGER_POLYMARKET")
                for port in re.findall(r"127\.0\.0\.1:(\d+)", value)
            }
        )
        database, *others = _free_ports(1 + len(ports))
        lines: list[Any] = [["database", ["127.0.0.1", database], str(self.postgres.socket)]]
        lines += [
            ["venue", ["127.0.0.1", line], ["127.0.0.1", port]]
            for line, port in zip(others, ports, strict=True)
        ]
        self._lines = await self._processes.start(
            "lines", "proof.live.lines", json.dumps(lines), env={}, talks=True
        )
        await self._line_said("ready")
        swapped = {str(port): str(line) for line, port in zip(others, ports, strict=True)}

        def through(value: str) -> str:
            return re.sub(
                r"127\.0\.0\.1:(\d+)",
                lambda found: f"127.0.0.1:{swapped.get(found[1], found[1])}",
                value,
            )

        return database, through

    async def tell_lines(self, word: str) -> None:
        """``cut database``, ``heal venue`` and so on."""
        assert self._lines is not None
        self._lines.tell(word)
        await self._line_said(word)

    async def _line_said(self, word: str) -> None:
        assert self._lines is not None
        assert self._lines.process.stdout is not None
        said = await asyncio.wait_for(self._lines.process.stdout.readline(), 20)
        assert said.decode().strip() == word, said

    def _url(self, role: str, line: int, route: str) -> str:
        name = PREFIX.role(role)
        if route == "direct":
            return self.stage.url(role)
        password = self.stage.server.role_password(name)
        return (
            f"postgresql://{name}:{password}@127.0.0.1:{line}/{self.stage.server.config.database}"
        )

    # --- what the judgement asks for --------------------------------------------------------------------

    def go(self) -> None:
        self.crowd.staffed = True
        self.crowd.go()

    async def pause(self) -> None:
        """Also of whoever is killed meanwhile: the next life asks again what that one was not told."""
        self.crowd.calm()
        writers = self.crowd.of("writer")
        told: set[Life] = set()

        def all_paused() -> bool:
            for seat in writers:
                life = seat.life
                if life is None or not seat.up:
                    return False
                if life not in told:
                    told.add(life)
                    life.tell("pause")
                if not life.said("paused"):
                    return False
            return True

        if not await until(self.ports.clock, all_paused, READY_S):
            self._unexpected(f"the writers did not pause within {READY_S:.0f} s")

    async def ensure_workers(self) -> None:
        self.crowd.staffed = True
        await self._until_up(self.crowd.of("worker"))

    async def stop_workers(self) -> None:
        """By SIGTERM, as an operator would. Writers stay: they have nothing to ask."""
        self.crowd.staffed = False
        seats = self.crowd.of("worker")
        for seat in seats:
            if seat.life is not None:
                seat.life.child.send_signal(signal.SIGTERM)
        if not await until(self.ports.clock, lambda: all(s.life is None for s in seats), STOP_S):
            self._unexpected(f"a worker did not stop within {STOP_S:.0f} s")
            for seat in seats:
                self.crowd.kill(seat)
        self.course.unexpected += self.crowd.toll.unexpected
        self.crowd.toll.unexpected.clear()

    async def reconcile(self) -> str:
        env = await self.venue.worker_env() | {"LEDGER_DATABASE_URL": self.stage.url("worker")}
        return await self._command(("reconcile", "--json", "--account", MAIN), env, "result")

    async def audit(self) -> str:
        env = {"LEDGER_DATABASE_URL": self.stage.url("auditor")}
        return await self._command(("audit", "--json"), env, "ok")

    async def _command(self, words: tuple[str, ...], env: Mapping[str, str], name: str) -> str:
        kept = {one: os.environ[one] for one in KEPT if one in os.environ}
        log = self.folder / f"{words[0]}.log"
        child = self._breeding.start(
            "command", words, env=kept | dict(env), cwd=self.folder, log=log, piped=True
        )
        assert child.stdout is not None
        read = asyncio.get_running_loop().run_in_executor(None, child.stdout.read)
        try:
            text = await asyncio.wait_for(asyncio.shield(read), COMMAND_S)
        except TimeoutError:
            child.kill()
            await read
            return f"{words[0]} did not end in {COMMAND_S:.0f} s"
        finally:
            with suppress(OSError):
                child.stdout.close()
        try:
            told = json.loads(text)
        except ValueError:
            return text[-500:] or log.read_text("utf-8", "replace")[-500:]
        found = told.get(name)
        return str(found) if found in ("clean", True) else json.dumps(told)[:1500]

    # --- the database's clock ---------------------------------------------------------------------------

    async def step_database_clock(self, off_ms: int) -> None:
        """By so much it is off from now on."""
        owner = await open_connection(self.stage.owner_url)
        try:
            await owner.execute("SELECT setval('proof_clock.off', $1)", 1_000_000_000 + off_ms)
        finally:
            await owner.close()

    def _unexpected(self, what: str) -> None:
        self.course.unexpected.append(what)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


@asynccontextmanager
async def field(
    ports: Ports, seed: int, under: Path, planted: Planted = Planted(), *, disk: bool = True
) -> AsyncIterator[Field]:
    """Everything started, nobody asks yet; all of it ended and removed afterwards."""
    folder = under / f"field-{seed}"
    folder.mkdir()
    with ExitStack() as stack:
        loop = asyncio.get_running_loop()
        own = stack.enter_context(volume()) if disk else None
        server = await loop.run_in_executor(
            None,
            lambda: stack.enter_context(
                embedded.throwaway(
                    fsync=not planted.unsynced, under=own.folder if own else memory()
                )
            ),
        )
        postgres = Postgres(server, own, ports.clock)
        await postgres.settle()
        await loop.run_in_executor(None, lambda: upgrade(server.url(), prefix=PREFIX))
        owner = await open_connection(server.url())
        try:
            for role in LOGIN_ROLES:
                await server.ensure_login_role(owner, PREFIX.role(role))
            await owner.execute(_CLOCK)
        finally:
            await owner.close()
        # Even seeds of the demo's venue: plain HTTP, and no switch that cancels everything in an outage.
        stage = Stage(server, cast_of(ports), 2 * seed, "polymarket")
        await fill(stage)
        processes = Processes(folder)
        breeding = breeder()
        made = Field(stage, postgres, processes, breeding, folder, ports, SeededRng(seed))
        try:
            await made.start(planted)
            yield made
        finally:
            await made.aclose()
            breeding.close()
            await processes.end_all()
