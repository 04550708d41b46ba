"""Starts the demo's own processes and ends them, whatever becomes of the demo itself.

Each child is in a session of its own, so that Ctrl-C reaches the demo alone and it decides. A shell
that reads from a pipe of ours kills what is left if the demo dies without a word: the pipe ends with
this process, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

PROJECT: Final = Path(__file__).resolve().parents[2]

_GUARD: Final = """
pids=" "
while read -r verb pid; do
  case "$verb" in
    add) pids="$pids$pid " ;;
    drop) pids="${pids%%" $pid "*} ${pids#*" $pid "}" ;;
  esac
done
for pid in $pids; do kill -KILL "$pid"; done
"""


@dataclass(frozen=True, slots=True)
class Child:
    """One process of ours. ``end`` is its exit code: minus the signal's number if killed."""

    name: str
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def tell(self, line: str) -> None:
        """Write a line to its standard input; one that died meanwhile does not hear it."""
        assert self.process.stdin is not None
        if self.alive and not self.process.stdin.is_closing():
            self.process.stdin.write(f"{line}\n".encode())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.alive:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def end(self, within_s: float) -> int | None:
        """Its exit code, or None if it is still alive after ``within_s`` seconds."""
        try:
            return await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            return None


class Processes:
    """The children of one demo."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    async def start(
        self, name: str, module: str, *arguments: str, env: Mapping[str, str], talks: bool = False
    ) -> Child:
        """``python -m module arguments`` with ``env``; what it writes to stderr goes to ``name.log``.

        ``talks``: its standard input and output are pipes of ours.
        """
        pipe = asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL
        with (self._folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                env=_environment(env),
                cwd=self._folder,
                start_new_session=True,
            )
        child = Child(name, process)
        self._children.append(child)
        self._tell_guard(f"add {child.pid}")
        return child

    async def forget(self, child: Child) -> None:
        """An ended child's number may be given to a stranger: the guard must not know it any more."""
        self._children.remove(child)
        self._tell_guard(f"drop {child.pid}")

    async def end_all(self) -> None:
        """Kill what still runs, and the guard last."""
        for child in self._children:
            child.signal(signal.SIGKILL)
        for child in list(self._children):
            await child.process.wait()
            await self.forget(child)
        _stdin(self._guard).close()
        self._guard.wait()

    def tails(self, lines: int = 3) -> Iterable[str]:
        """The last lines that each child left on stderr, for the one who has to find out."""
        for log in sorted(self._folder.glob("*.log")):
            for line in log.read_text("utf-8", "replace").splitlines()[-lines:]:
                yield f"{log.stem}: {line[:300]}"

    def _tell_guard(self, line: str) -> None:
        with suppress(BrokenPipeError):
            _stdin(self._guard).write(f"{line}\n".encode())
            _stdin(self._guard).flush()


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Ours without any setting of the user's ledger; the project importable from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    path = os.pathsep.join(filter(None, (str(PROJECT), kept.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **env}
