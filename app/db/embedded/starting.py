"""From a data folder to a server that takes sessions, through whatever an earlier server left
behind.
"""

from __future__ import annotations

import time
from typing import Final

from app.db.embedded import processes
from app.db.embedded.accounts import Account
from app.db.embedded.config import ADMIN_ROLE, EmbeddedConfig
from app.db.embedded.folder import Progress
from app.db.embedded.install import binaries
from app.db.embedded.probe import Answer, Liveness, probe
from app.db.embedded.problems import explain_output, own_words
from app.errors import Code, DatabaseProblem

_POLL_S: Final = 0.01
_SLOW_POLL_S: Final = 0.1
_IMPATIENT_S: Final = 1.0
MUTE_S = 30.0
"""A server that recovers says so at once. One that says nothing for so long is paused, and no
patience helps.
"""
_MEMORY_IN_USE: Final = "is still in use"
_LOCKED_FOLDER: Final = "lock file"
_TRIES: Final = 5


def ask(config: EmbeddedConfig) -> Answer:
    """Whether the server of this home takes sessions."""
    return probe(config.socket_file, user=ADMIN_ROLE, database=config.database)


def bring_up(config: EmbeddedConfig, account: Account, progress: Progress) -> None:
    """Return once the server takes sessions, started if need be. The caller holds the lock."""
    began = heard = time.monotonic()
    starter = _Starter(config, account)
    while True:
        answer = ask(config)
        if answer.state is not Liveness.MUTE:
            heard = time.monotonic()
        elif time.monotonic() - heard > MUTE_S:
            raise _mute(config, time.monotonic() - heard)
        if answer.state in (Liveness.UP, Liveness.NO_DATABASE):
            return
        if answer.state is Liveness.FORBIDDEN:
            raise _forbidden(config, answer)
        what = starter.step() if answer.state is Liveness.SILENT else answer.detail
        waited = time.monotonic() - began
        if waited > config.patience_s:
            raise _too_slow(config, what, waited)
        progress(what, waited)
        time.sleep(_POLL_S if waited < _IMPATIENT_S else _SLOW_POLL_S)


class _Starter:
    """Tries again where the obstacle passes by itself."""

    def __init__(self, config: EmbeddedConfig, account: Account) -> None:
        self._config = config
        self._account = account
        self._attempt: processes.Attempt | None = None
        self._wordless_ends = 0

    def step(self) -> str:
        """One look at a server that is silent; says what is being waited for, or raises."""
        if self._attempt is not None:
            if not self._attempt.ended():
                return "starting"
            said, self._attempt = self._attempt.said(), None
            return self._reason_to_try_again(said)
        holder = processes.live_postmaster(self._config.data)
        if holder is not None:
            return f"process {holder} holds the folder"
        processes.forget_dead_pids(self._config)
        folder = binaries(self._config, self._account)
        self._attempt = processes.launch(self._config, folder, self._account)
        return "starting"

    def _reason_to_try_again(self, said: str) -> str:
        if _MEMORY_IN_USE in said:
            # a killed postmaster leaves children that notice within moments
            return "waiting for the processes of a killed server to end"
        if _LOCKED_FOLDER in said and processes.live_postmaster(self._config.data) is not None:
            return "another server holds the folder"
        if not own_words(said) and self._wordless_ends < _TRIES:
            # killed from outside while it started: it always says why it gives up
            self._wordless_ends += 1
            return "starting again"
        raise explain_output(self._config, said, doing="starting the server")


def _too_slow(config: EmbeddedConfig, what: str, waited: float) -> DatabaseProblem:
    return DatabaseProblem(
        Code.DATABASE_BUSY,
        f"the server in {config.home} took no session within {waited:.0f} s: {what}",
        not_done="no connection was made",
        next_step="if it recovers from a crash, wait and repeat, nothing is lost; else read "
        f"{config.log_file}",
    )


def _mute(config: EmbeddedConfig, silent: float) -> DatabaseProblem:
    pid = processes.live_postmaster(config.data)
    paused = pid is not None and processes.is_paused(pid)
    return DatabaseProblem(
        Code.DATABASE_BUSY,
        f"the server in {config.home} accepts connections and answered none for {silent:.0f} s"
        + (f": its process {pid} is paused" if paused else ""),
        not_done="no connection was made",
        next_step=f"let it go on (kill -CONT {pid}), then repeat"
        if paused
        else f"see that the machine is not overloaded, and {config.log_file}; then repeat",
    )


def _forbidden(config: EmbeddedConfig, answer: Answer) -> DatabaseProblem:
    return DatabaseProblem(
        Code.DATABASE_PRIVILEGE,
        f"the embedded server in {config.home} refuses this user: {answer.detail}",
        not_done="no connection was made",
        next_step="run as the user that owns it or as root, or connect with LEDGER_DATABASE_URL "
        "and a password",
    )
