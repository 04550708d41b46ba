"""Turns what initdb, the server and the operating system say into an error that names the next
step.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Final

from app.db.embedded.config import EmbeddedConfig
from app.errors import Code, DatabaseProblem

_PREFIX: Final = re.compile(r"^[-0-9]+ [:.0-9]+ \S+ \[[0-9]+\] ")
_SESSION: Final = re.compile(r"^\S+@\S* [A-Z]+:")
_GIVING_UP: Final = re.compile(r"FATAL:|PANIC:|\S*sh:|postgres:")
_LAST_LINES: Final = 4

_SAYINGS: tuple[tuple[tuple[str, ...], Code, str, str], ...] = (
    (
        ("No space left on device", "Disk quota exceeded"),
        Code.DATABASE_UNREACHABLE,
        "the disk that holds the embedded database is full",
        "free some space on it, then start again",
    ),
    (
        ("Read-only file system",),
        Code.DATABASE_PRIVILEGE,
        "the embedded database lies on a disk that is mounted read-only",
        "mount it for writing, or set LEDGER_DATA_DIR to another folder",
    ),
    (
        (
            "Permission denied",
            "has invalid permissions",
            "has wrong ownership",
            "Operation not permitted",
        ),
        Code.DATABASE_PRIVILEGE,
        "the server's user may not use its own folder",
        "give the data folder back to that user with mode 0700, then start again",
    ),
    (
        (
            "could not locate a valid checkpoint record",
            "could not locate required checkpoint record",
            "invalid checkpoint record",
            "pg_control",
            "database files are incompatible",
            "is not a database cluster directory",
            "could not open directory",
            "invalid data in file",
            "invalid page",
            "could not read WAL",
        ),
        Code.DATABASE_DAMAGED,
        "the files of the embedded database are damaged or incomplete",
        "copy the folder away as it is, then restore it from a backup; nothing in it was changed",
    ),
    (
        ("contains errors", "unrecognized configuration parameter", "invalid value for parameter"),
        Code.BAD_SETTING,
        "the server refuses its configuration",
        "mend postgresql.conf (or pg_hba.conf) in the data folder at the line its log names",
    ),
    (
        (
            "Cannot allocate memory",
            "could not map anonymous shared memory",
            "could not resize shared memory",
        ),
        Code.DATABASE_UNREACHABLE,
        "there is not enough memory for the server",
        "free memory, or lower shared_buffers in postgresql.conf in the data folder",
    ),
)


def explain_output(config: EmbeddedConfig, said: str, *, doing: str) -> DatabaseProblem:
    """The problem behind the last words of a program. ``doing`` is what did not succeed."""
    lines = _lines(said)
    last = "; ".join(lines[-_LAST_LINES:])
    for needles, code, wrong, next_step in _SAYINGS:
        if any(needle in said for needle in needles):
            return DatabaseProblem(
                code,
                f"{wrong} ({config.home}): {last[:400]}",
                not_done=f"{doing} did not succeed",
                next_step=next_step,
            )
    return DatabaseProblem(
        Code.DATABASE_UNREACHABLE,
        f"{doing} failed in {config.home}: {last[:400] or 'it ended without a word'}",
        not_done=f"{doing} did not succeed",
        next_step=f"read {config.log_file}, or set LEDGER_DATABASE_URL to a server of your own",
    )


def own_words(said: str) -> str:
    """Why a server gave up, in its words; empty where it was killed before it could say."""
    return "; ".join(line for line in _lines(said) if _GIVING_UP.match(line))


def _lines(said: str) -> list[str]:
    """Without times, and without what it told single sessions, such as our own probes."""
    lines = (_PREFIX.sub("", line.strip()) for line in said.splitlines() if line.strip())
    return [line for line in lines if not _SESSION.match(line)]


def explain_os_error(path: Path, error: OSError, *, doing: str) -> DatabaseProblem:
    """A refusal of the operating system while ``doing`` something to ``path``."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        code, next_step = (
            Code.DATABASE_UNREACHABLE,
            "free some space on that disk, then start again",
        )
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        code = Code.DATABASE_PRIVILEGE
        next_step = (
            "set LEDGER_DATA_DIR to a folder that this user may write, or mend its permissions"
        )
    else:
        code, next_step = Code.DATABASE_UNREACHABLE, "set LEDGER_DATA_DIR to a usable folder"
    return DatabaseProblem(
        code, f"{doing} was refused for {path}: {reason}", not_done=doing, next_step=next_step
    )
