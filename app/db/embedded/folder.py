"""The home of an embedded server: whose it is, its lock, its state, and how its data folder is
made.

Nothing is ever made or changed in a folder that is not recognisably the ledger's own.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.db.embedded.accounts import Account
from app.db.embedded.config import EmbeddedConfig
from app.db.embedded.problems import explain_os_error
from app.errors import Code, DatabaseProblem

Progress = Callable[[str, float], None]
"""Told what is being waited for, and for how many seconds so far."""


def no_progress(_what: str, _seconds: float) -> None:
    """For callers that show nothing."""


def check_ours(config: EmbeddedConfig) -> None:
    """Raise ``DATABASE_NOT_OURS`` where the home holds something else. Reads only."""
    try:
        names = os.listdir(config.home)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain_os_error(config.home, error, doing="opening the data folder") from error
    if names and config.lock_file.name not in names:
        raise DatabaseProblem(
            Code.DATABASE_NOT_OURS,
            f"{config.home} holds files that are not an embedded ledger database",
            not_done="nothing in it was read or changed",
            next_step="set LEDGER_DATA_DIR to an empty folder or one that does not exist yet",
        )


def check_data(config: EmbeddedConfig) -> bool:
    """Whether a usable data folder is there. False means: never made. Reads only.

    Raises ``DATABASE_DAMAGED`` where there was one once, or where it is incomplete or of another
    version.
    """
    if not os.path.lexists(config.data):
        if config.initialised_file.exists():
            # an unmounted volume looks like this; making an empty ledger here would forget open
            # orders
            raise _damaged(
                config,
                "its data folder is gone",
                "mount or restore it; only to begin with an empty ledger, remove the file "
                "'initialised'",
            )
        return False
    try:
        version = (config.data / "PG_VERSION").read_text().strip()
        complete = (config.data / "global" / "pg_control").stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        version, complete = "", False
    except OSError as error:
        raise explain_os_error(config.data, error, doing="reading the data folder") from error
    if version and version != str(config.major):
        raise _damaged(
            config,
            f"it was written by Postgres {version[:20]}, and this release brings Postgres "
            f"{config.major}",
            "use the release that wrote it, or dump it there and load it here into a new folder",
        )
    if not version or not complete:
        raise _damaged(
            config,
            "its data folder lacks files that every Postgres data folder has",
            "copy the folder away as it is, then restore it from a backup",
        )
    return True


def _damaged(config: EmbeddedConfig, wrong: str, next_step: str) -> DatabaseProblem:
    return DatabaseProblem(
        Code.DATABASE_DAMAGED,
        f"the embedded database in {config.home} cannot be used: {wrong}",
        not_done="the server was not started and nothing in the folder was changed",
        next_step=next_step,
    )


@contextmanager
def locked(config: EmbeddedConfig, progress: Progress = no_progress) -> Iterator[None]:
    """Hold the home's lock; make the home first if it does not exist. Only around making, starting,
    stopping.
    """
    check_ours(config)
    began = time.monotonic()
    try:
        _make_home(config)
        lock = _lock(config, progress, began)
    except OSError as error:
        raise explain_os_error(config.home, error, doing="preparing the data folder") from error
    try:
        yield
    finally:
        os.close(lock)


def _make_home(config: EmbeddedConfig) -> None:
    if not config.home.exists():
        config.home.parent.mkdir(parents=True, exist_ok=True)
        # root's server runs as another user, who must be able to pass; an ordinary user's home is
        # his alone
        config.home.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chmod(config.home, 0o755)  # noqa: S103 - whatever the caller's umask; the folder is new and ours


def _lock(config: EmbeddedConfig, progress: Progress, began: float) -> int:
    while True:
        handle = _open_lock(config.lock_file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # somebody may have removed the file between open and lock: then this is a lock on
            # nothing
            if os.path.lexists(config.lock_file) and os.path.samestat(
                os.fstat(handle), os.lstat(config.lock_file)
            ):
                return handle
        except BlockingIOError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        waited = time.monotonic() - began
        if waited > config.patience_s:
            raise DatabaseProblem(
                Code.DATABASE_BUSY,
                f"another process has been starting or stopping the server in {config.home} for "
                f"{waited:.0f} s",
                not_done="the server was neither started nor stopped",
                next_step=f"see who holds it with: fuser {config.lock_file}",
            )
        progress("waiting for another process that starts or stops the server", waited)
        time.sleep(0.02)


def _open_lock(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        # made by root, met by the run user: flock needs no more than an open file
        return os.open(path, flags | os.O_RDONLY)
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, 0o644)
    return handle


def make_folders(config: EmbeddedConfig, account: Account) -> None:
    """The socket and log folders, owned by the run user. A folder of somebody else's in /tmp is
    refused.
    """
    try:
        _own_folder(config.log_file.parent, account, 0o700)
        _own_folder(config.socket_dir, account, 0o755 if account.switches else 0o700)
    except OSError as error:
        raise explain_os_error(config.home, error, doing="preparing the data folder") from error


def _own_folder(path: Path, account: Account, mode: int) -> None:
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        found = path.lstat()
        if (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == account.uid
            and not found.st_mode & 0o022
        ):
            return
        raise DatabaseProblem(
            Code.DATABASE_NOT_OURS,
            f"{path} exists and is not a private folder of user {account.name}",
            not_done="the server was not started",
            next_step=f"look at what it is, remove {path}, and start again",
        ) from None
    os.chmod(path, mode)
    account.take(path)


def mark_initialised(config: EmbeddedConfig) -> None:
    """From now on a missing data folder is a loss.

    Left out where the caller may not write: the run user under root's home.
    """
    if not config.initialised_file.exists() and os.access(config.home, os.W_OK):
        config.initialised_file.write_text(f"{config.major}\n")
