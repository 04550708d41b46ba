"""Start, stop and look at an embedded server. Any number of processes may call these at once.

The server outlives whoever started it: a worker that ends must not take the database from under its
colleagues.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from app.db.embedded import processes
from app.db.embedded.accounts import Account, run_account
from app.db.embedded.config import EmbeddedConfig
from app.db.embedded.folder import (
    Progress,
    check_data,
    check_ours,
    locked,
    make_folders,
    mark_initialised,
    no_progress,
)
from app.db.embedded.install import binaries
from app.db.embedded.making import make_data
from app.db.embedded.probe import Liveness
from app.db.embedded.server import Server, create_database
from app.db.embedded.starting import ask, bring_up
from app.errors import Code, DatabaseProblem

_POLL_S: Final = 0.01

_SIGNALS: Final = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
StopMode = Literal["smart", "fast", "immediate"]


class State(Enum):
    """What `status` finds."""

    NONE = "none"
    """No database was made here yet."""
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    NOT_ANSWERING = "not answering"
    """It accepts connections and says nothing: paused, or far too busy."""
    UNUSABLE = "unusable"
    """Damaged, not ours, or closed to this user; `Status.detail` says which."""


@dataclass(frozen=True, slots=True)
class Status:
    state: State
    home: Path
    detail: str = ""
    server_version: str = ""
    pid: int | None = None


def start(config: EmbeddedConfig, *, progress: Progress = no_progress) -> Server:
    """The running server of this home: made, started or just found. Blocks until it takes sessions.

    Exactly one of several callers starts it, the others wait. Raises `DatabaseProblem` with
    ``DATABASE_NOT_OURS``, ``DATABASE_DAMAGED``, ``DATABASE_BUSY``, ``DATABASE_PRIVILEGE`` or
    ``DATABASE_UNREACHABLE``.
    """
    server = Server(config)
    if ask(config).state is Liveness.UP:
        return server
    check_ours(config)
    with locked(config, progress):
        account = run_account(config)
        if ask(config).state is Liveness.SILENT:
            _prepare(config, account, progress)
        bring_up(config, account, progress)
        if ask(config).state is Liveness.NO_DATABASE:
            create_database(server)
    return server


def _prepare(config: EmbeddedConfig, account: Account, progress: Progress) -> None:
    """See to it that there is a whole data folder to start. Refuses before it touches anything."""
    made = check_data(config)
    make_folders(config, account)
    if not made:
        progress("making the data folder", 0.0)
        make_data(config, binaries(config, account), account)
    mark_initialised(config)


def status(config: EmbeddedConfig) -> Status:
    """What is there, without touching it and without raising for what is found."""
    answer = ask(config)
    pid = processes.live_postmaster(config.data)
    if answer.state in (Liveness.UP, Liveness.NO_DATABASE):
        return Status(State.RUNNING, config.home, answer.detail, answer.server_version, pid)
    if answer.state is Liveness.STARTING:
        return Status(State.STARTING, config.home, answer.detail, pid=pid)
    if answer.state is Liveness.MUTE:
        return Status(State.NOT_ANSWERING, config.home, answer.detail, pid=pid)
    if answer.state is Liveness.FORBIDDEN:
        return Status(State.UNUSABLE, config.home, answer.detail, pid=pid)
    try:
        check_ours(config)
        found = check_data(config)
    except DatabaseProblem as problem:
        return Status(State.UNUSABLE, config.home, problem.wrong, pid=pid)
    if pid is not None:
        return Status(State.STARTING, config.home, f"process {pid} holds the folder", pid=pid)
    return Status(State.STOPPED if found else State.NONE, config.home)


def stop(
    config: EmbeddedConfig, mode: StopMode = "fast", *, progress: Progress = no_progress
) -> bool:
    """Stop the server; False if none ran. ``fast`` ends sessions and rolls back, ``smart`` waits
    for them to leave.

    Raises ``DATABASE_BUSY`` if it has not ended within the patience (it goes on ending).
    """
    check_ours(config)
    if not config.data.exists():
        return False
    with locked(config, progress):
        pid = processes.live_postmaster(config.data)
        if pid is None:
            return False
        processes.send(pid, _SIGNALS[mode])
        began = time.monotonic()
        while processes.is_running(pid):
            waited = time.monotonic() - began
            if waited > config.patience_s:
                raise DatabaseProblem(
                    Code.DATABASE_BUSY,
                    f"the server (process {pid}) has not ended within {waited:.0f} s",
                    not_done="it was told to stop and may still be ending",
                    next_step="close what is connected, or stop it with mode fast or immediate",
                )
            progress("waiting for the server to end", waited)
            time.sleep(_POLL_S)
    return True
