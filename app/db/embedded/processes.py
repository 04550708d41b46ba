"""Starting the postmaster so that it outlives its starter, and telling a live one from a stale pid
file.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.db.embedded.accounts import Account
from app.db.embedded.config import PORT, EmbeddedConfig
from app.db.embedded.problems import explain_os_error
from app.errors import Code, DatabaseProblem

_LARGEST_LOG: Final = 10 * 1024 * 1024
_NO_SUCH_PID: Final = 999_999_999
"""Above PID_MAX_LIMIT of Linux (4,194,304), so never a process."""

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to start a postmaster."""

    pid: int
    log_file: Path
    log_from: int
    complaint: str
    """Of the shell, where it could not even open the log."""

    def ended(self) -> bool:
        return not is_running(self.pid)

    def said(self) -> str:
        """What shell and server have said in this attempt."""
        log = b""
        with suppress(OSError), self.log_file.open("rb") as file:
            file.seek(self.log_from)
            log = file.read(64 * 1024)
        return self.complaint + log.decode(errors="replace")


def launch(config: EmbeddedConfig, folder: Path, account: Account) -> Attempt:
    """Start a postmaster in a session of its own, with the log as its only tie to the outside."""
    log_from = _rotate(config.log_file)
    # the shell goes at once, which hands the postmaster to init: it is nobody's child, so nobody's
    # exit, process group or terminal takes it along. Paths are arguments, so no character in them
    # means anything.
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    shell: list[str | Path] = ["/bin/sh", "-c", script, config.log_file]
    server: list[str | Path] = [folder / "postgres", "-D", config.data, "-k", config.socket_dir]
    try:
        done = subprocess.run(
            [*shell, *server, "-p", str(PORT)],
            capture_output=True,
            text=True,
            check=True,
            start_new_session=True,
            **account.spawn_options(),
        )
    except OSError as error:
        raise explain_os_error(config.home, error, doing="starting the server") from error
    return Attempt(int(done.stdout), config.log_file, log_from, done.stderr)


def _rotate(log: Path) -> int:
    """Keep one older log; only between two servers, since a running one holds the file. The size to
    read on from.
    """
    try:
        size = log.stat().st_size
        if size > _LARGEST_LOG:
            log.replace(log.with_name(log.name + ".1"))
            size = 0
    except FileNotFoundError:
        size = 0
    return size


def is_running(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie."""
    return _exists(pid) and _state_and_name(pid)[0] != "Z"


def is_paused(pid: int) -> bool:
    """Whether somebody stopped it with SIGSTOP or a debugger."""
    return _state_and_name(pid)[0] in ("T", "t")


def _exists(pid: int) -> bool:
    """What Postgres itself asks: also true for a zombie, and for whoever has the number by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def live_postmaster(data: Path) -> int | None:
    """The pid in ``postmaster.pid`` if a Postgres runs under it, else None.

    Where the system does not show what runs under a pid, a running process is taken for a Postgres:
    the cautious reading.
    """
    pid = _recorded_pid(data / "postmaster.pid")
    if pid is None or not is_running(pid):
        return None
    return pid if _state_and_name(pid)[1] in ("postgres", "") else None


def forget_dead_pids(config: EmbeddedConfig) -> None:
    """Make Postgres see that a recorded pid is not a live server, where it would take it for one.

    After a power cut the numbers start again, and Postgres takes any process of its own user under
    a recorded number for a server. In a container without an init a killed server stays a zombie,
    with the same effect, for ever. Only the number is replaced: the shared memory key in the file
    still guards against surviving children.
    Call with the home's lock held and `live_postmaster` None.
    """
    for file in (config.data / "postmaster.pid", Path(f"{config.socket_file}.lock")):
        pid = _recorded_pid(file)
        if pid is None or not _exists(pid):
            continue
        lines = file.read_text().splitlines(keepends=True)
        with open(os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_TRUNC), "w") as stream:
            stream.writelines([f"{_NO_SUCH_PID}\n", *lines[1:]])


def send(pid: int, what: signal.Signals) -> None:
    """Signal a postmaster; one that has just ended is fine."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return
    except PermissionError:
        raise DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            f"the server (process {pid}) belongs to another user",
            not_done="it was not stopped",
            next_step="stop it as its own user or as root",
        ) from None


def _recorded_pid(file: Path) -> int | None:
    try:
        first = file.read_text().split("\n", 1)[0]
        return abs(int(first)) or None
    except (OSError, ValueError):
        return None


def _state_and_name(pid: int) -> tuple[str, str]:
    """State letter and program name as Linux shows them; empty where it does not."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return "", ""
    name, _, rest = text.partition("(")[2].rpartition(")")
    return rest.split()[0], name
