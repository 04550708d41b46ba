"""The server that is killed: one backend, a process of its own household, its postmaster, or all of it at once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.clock import Clock, Rng
from app.db import embedded
from app.db.connect import open_connection
from app.db.embedded import Server
from app.db.embedded.accounts import run_account
from app.errors import DatabaseProblem
from proof.failover.programs import kill, server_processes
from proof.kills.volume import Volume

CONNECTIONS: Final = 100
RESTART_S: Final = 60.0
SMALL_FILE: Final = str(1 << 20)
"""Where no disk can be filled: no file may be written beyond this."""

SETTINGS: Final = (
    f"max_connections = {CONNECTIONS}",
    "checkpoint_timeout = '30s'",
    "min_wal_size = '32MB'",
    "max_wal_size = '64MB'",
    "restart_after_crash = on",
)
HOUSEHOLD: Final = ("checkpointer", "walwriter", "background writer", "autovacuum launcher")


class ServerFailed(Exception):
    """It did not come back; the text holds its last words."""


class Postgres:
    """An embedded server with durable settings. `volume` is its disk, where it has one of its own."""

    def __init__(self, server: Server, volume: Volume | None, clock: Clock) -> None:
        self.server = server
        self.volume = volume
        self._clock = clock

    @property
    def socket(self) -> Path:
        return self.server.config.socket_file

    async def settle(self) -> None:
        """The campaign's settings, and a start with them."""
        owner = await open_connection(self.server.url())
        try:
            for setting in SETTINGS:
                await owner.execute(f"ALTER SYSTEM SET {setting}")
        finally:
            await owner.close()
        await self._in_thread(lambda: embedded.stop(self.server.config))
        await self.start()

    # --- deaths ---------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """The postmaster first; empty if none runs."""
        return server_processes(self.server.config.data)

    def kill_all(self) -> int:
        """Nobody of it gets a word out. How many died."""
        found = self.processes()
        for pid in found:
            kill(pid, signal.SIGKILL)
        return len(found)

    def kill_postmaster(self) -> int:
        """The postmaster alone; its children notice by themselves, a moment later."""
        found = self.processes()[:1]
        for pid in found:
            kill(pid, signal.SIGKILL)
        return len(found)

    def kill_backend(self, rng: Rng) -> int:
        """One session's process; the postmaster then ends all sessions and recovers."""
        return self._kill_one(rng, lambda title: "ledger_" in title and "[local]" in title)

    def kill_household(self, rng: Rng) -> int:
        """The checkpointer, a writer or the launcher: with the same effect."""
        return self._kill_one(rng, lambda title: any(name in title for name in HOUSEHOLD))

    def _kill_one(self, rng: Rng, wanted: object) -> int:
        assert callable(wanted)
        found = [pid for pid in self.processes()[1:] if wanted(_title(pid))]
        if not found:
            return 0
        kill(found[rng.bits(32) % len(found)], signal.SIGKILL)
        return 1

    # --- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Until it takes sessions, through crash recovery. Raises `ServerFailed`."""
        deadline = self._clock.monotonic_ns() + int(RESTART_S * 1e9)
        while True:
            try:
                await self._in_thread(lambda: embedded.start(self.server.config))
            except (DatabaseProblem, OSError) as problem:
                if self._clock.monotonic_ns() > deadline:
                    raise ServerFailed(f"{problem}\n{self.last_words()}") from problem
                await self._clock.sleep(0.2)
            else:
                return

    async def serves(self) -> bool:
        """Whether it takes a session now."""
        with suppress(DatabaseProblem, OSError):
            owner = await open_connection(self.server.url())
            await owner.close()
            return True
        return False

    def limit_files(self, most: str) -> None:
        """No process of it may write a file beyond so many bytes; ``unlimited`` lifts it."""
        account = run_account(self.server.config)
        for pid in self.processes():
            subprocess.run(
                ["prlimit", f"--pid={pid}", f"--fsize={most}:"],
                check=False,  # it may have ended meanwhile
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **account.spawn_options(),
            )

    def last_words(self, lines: int = 12) -> str:
        with suppress(OSError):
            said = self.server.config.log_file.read_text("utf-8", "replace").splitlines()
            return "\n".join(line[:300] for line in said[-lines:])
        return "it left no log"

    async def _in_thread(self, work: object) -> None:
        assert callable(work)
        await asyncio.get_running_loop().run_in_executor(None, work)


def _title(pid: int) -> str:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def titles(pids: Sequence[int]) -> list[str]:
    return [_title(pid) for pid in pids]
