"""The process that forks workers and writers: each of a thousand lives would else import everything anew.

What is forked is a process like any other (its own pid, files, sessions) and dies of SIGKILL like any other; only the
imports are saved. Run with the number of its end of the line: ``python -m proof.kills.breeding FD``.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.clock import SystemClock
from tests.support.forking import Starter, serve

WALL = "PROOF_WALL"
"""Path of eight bytes: by how many milliseconds the wall clock of these processes is off, also while they run."""

COMMANDS = "PROOF_COMMANDS"
"""Path of the pipe that stands for a writer's standard input."""


def breeder() -> Starter:
    """Its side here. Closed, it ends itself and everything that it started."""
    return Starter("proof.kills.breeding")


class Wall:
    """The wall clock of all workers, in our hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))

    def step(self, milliseconds: int) -> None:
        """From now on their wall clock is off by so much, at once."""
        with self.path.open("r+b") as file:
            file.write(milliseconds.to_bytes(8, "little", signed=True))


def wear(path: str) -> None:
    """Let this process see the clock of that file."""
    with Path(path).open("rb") as file:
        shown = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def now_ms(_self: SystemClock) -> int:
        off = int.from_bytes(shown[:8], "little", signed=True)
        return time.time_ns() // 1_000_000 + off

    SystemClock.now_ms = now_ms  # type: ignore[method-assign, assignment]


def _targets() -> dict[str, Callable[[], Any]]:
    import workers.cli.main
    import workers.cli.running
    import workers.worker.main
    import workers.worker.polymarket_host
    from proof.live import load

    def command() -> None:
        if WALL in os.environ:
            wear(os.environ[WALL])
        workers.cli.main.main()

    def writer() -> int:
        pipe = os.open(os.environ[COMMANDS], os.O_RDONLY)
        os.dup2(pipe, 0)
        os.close(pipe)
        return load.main()

    return {"command": command, "writer": writer}


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), _targets())
