"""Who runs the server: Postgres refuses to run as root, so root hands it to a system user of its
own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.db.embedded.config import EmbeddedConfig
from app.errors import Code, DatabaseProblem

_NAME_IN_USE: Final = 9
_OTHER_USERADD_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user that owns the data folder and runs the server."""

    name: str
    uid: int
    gid: int

    @property
    def switches(self) -> bool:
        """Whether starting a program for it means leaving root."""
        return os.geteuid() == 0 and self.uid != 0

    def spawn_options(self) -> dict[str, Any]:
        """Arguments for `subprocess` so that the program belongs to this user and sees nothing of
        the caller's.
        """
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "cwd": "/",
            "umask": 0o077,
            # PG* variables of the caller would redirect the programs; LC_ALL keeps what they say
            # readable to us
            "env": {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"},
        }
        if self.switches:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def take(self, path: Path) -> None:
        """Make this user the owner of ``path`` (only needed, and only possible, for root)."""
        if self.switches:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def run_account(config: EmbeddedConfig) -> Account:
    """The owner of the data folder where there is one; else the caller, or for root the system user
    (made if absent).

    Raises `DatabaseProblem` with ``DATABASE_PRIVILEGE`` where the caller may not run it.
    """
    owner = _owner_of(config.data)
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise DatabaseProblem(
                Code.DATABASE_PRIVILEGE,
                f"the database in {config.home} belongs to user {_name_of(owner) or owner}",
                not_done="the server was not started",
                next_step="run this as that user or as root, set LEDGER_DATA_DIR to a folder of "
                "your own, "
                "or connect with LEDGER_DATABASE_URL",
            )
        return _account_of(os.geteuid())
    if owner == 0:
        raise DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            f"the data folder {config.data} belongs to root, and Postgres does not run as root",
            not_done="the server was not started",
            next_step=f"if it is the ledger's: chown -R {config.run_user} {config.data}",
        )
    return _account_of(owner) if owner is not None else _system_user(config.run_user)


def _owner_of(path: Path) -> int | None:
    try:
        return os.lstat(path).st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return None  # the folder check that follows says so in its own words


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _account_of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        # initdb and peer both look the name up; a container started with a bare number has none
        raise DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            f"user id {uid} has no name on this machine, and the embedded server needs one",
            not_done="the server was not started",
            next_step="add the user to /etc/passwd, or set LEDGER_DATABASE_URL to a server",
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _system_user(name: str) -> Account:
    command = ["useradd", "--system", "--user-group", "--no-create-home",
               "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name]  # fmt: skip
    give_up = time.monotonic() + _OTHER_USERADD_S
    said = ""
    while time.monotonic() < give_up:
        try:
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        except KeyError:
            pass
        said = _try(command)
        # another process may hold the password file's lock for a moment, perhaps to make this very
        # user
        if said and "lock" not in said:
            break
        if said:
            time.sleep(0.1)
    raise DatabaseProblem(
        Code.DATABASE_PRIVILEGE,
        f"Postgres does not run as root, and the system user {name!r} could not be made: {said}",
        not_done="no database was made",
        next_step=f"run: {' '.join(command)} - or start as an ordinary user, or set "
        "LEDGER_DATABASE_URL",
    )


def _try(command: list[str]) -> str:
    """Run it; the empty string when the user exists afterwards, else what went wrong."""
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(
        [program, *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return "" if done.returncode in (0, _NAME_IN_USE) else done.stderr.strip()
