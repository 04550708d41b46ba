"""Starts the programs of the cluster as an ordinary user, and ends them by their ids, whatever becomes of us.

Postgres is started by Patroni, not by us: its id stands in ``postmaster.pid``, and what it forked is found by its
parent. A shell that reads from a pipe of ours kills what is left if we end without a word.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from app.db.embedded.accounts import Account, run_account
from app.db.embedded.config import EmbeddedConfig

_GUARD: Final = """
folder="$1"
pids=" "
while read -r verb pid; do
  case "$verb" in
    add) pids="$pids$pid " ;;
    drop) pids="${pids%%" $pid "*} ${pids#*" $pid "}" ;;
  esac
done
for pid in $pids; do kill -KILL "$pid"; done
for file in "$folder"/*/data/postmaster.pid; do
  read -r pid < "$file" && tr '\\0' ' ' < "/proc/$pid/cmdline" | grep -qF "$folder" || continue
  kill -KILL "$pid" $(pgrep -P "$pid")  # one that was stopped would not notice its parent's end
done
rm -rf "$folder"
"""


class Crew:
    """The programs of one cluster. ``folder`` is theirs, and is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = _ordinary_user(folder)
        self.account.take(folder)
        self._running: list[subprocess.Popen[bytes]] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def own_folder(self, name: str) -> Path:
        """A folder of the programs' user."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        self.account.take(path)
        return path

    def own_file(self, path: Path, text: str) -> Path:
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        self.account.take(path)
        return path

    def start(self, program: Path, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """In a session of its own; what it says goes to ``log``."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [str(program), *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.account.spawn_options(),
            )
        self._running.append(process)
        self._tell_guard(f"add {process.pid}")
        return process

    def signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        if process.poll() is None:
            process.send_signal(number)

    def bury(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it if it lives, wait for its end, forget its id."""
        self.signal(process, signal.SIGKILL)
        process.wait()
        if process in self._running:
            self._running.remove(process)
            self._tell_guard(f"drop {process.pid}")

    def close(self, servers: Sequence[Path]) -> None:
        """End everything: what starts servers first, then the servers in these data folders."""
        for process in list(self._running):
            self.bury(process)
        for data in servers:
            for pid in server_processes(data):
                kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, line: str) -> None:
        pipe: IO[bytes] | None = self._guard.stdin
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.write(f"{line}\n".encode())
            pipe.flush()


def _ordinary_user(folder: Path) -> Account:
    """Ourselves, or for root the system user that runs embedded servers too: Postgres refuses root."""
    return run_account(replace(EmbeddedConfig.from_environment(), home=folder / "no-server"))


def kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def server_processes(data: Path) -> list[int]:
    """The postmaster of this data folder, if it runs, and everything it forked; the postmaster first."""
    try:
        postmaster = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        named = (Path("/proc") / str(postmaster) / "cmdline").read_bytes()
    except (OSError, ValueError):
        return []
    if str(data).encode() not in named:
        return []
    return [postmaster, *children_of(postmaster)]


def children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found
