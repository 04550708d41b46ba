"""Finds the programs that a replicated Postgres is made of, or says in one sentence what to install."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import BadInput, Code

PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
POSTGRES: Final = Path("/usr/lib/postgresql")
OLDEST_MAJOR: Final = 15

PACKAGES: Final = {"patroni": "patroni python3-etcd", "etcd": "etcd-server", "haproxy": "haproxy"}
"""Program to Debian's packages that bring it."""

NEEDED_OF_POSTGRES: Final = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind")


@dataclass(frozen=True, slots=True)
class Programs:
    """Where everything is."""

    patroni: Path
    etcd: Path
    haproxy: Path
    postgres: Path
    """The folder of the server's programs."""


def missing(path: str = PATH, postgres: Path = POSTGRES) -> list[str]:
    """Packages to install, in one list; empty where everything is there."""
    wanted = [PACKAGES[name] for name in PACKAGES if shutil.which(name, path=path) is None]
    if _postgres(postgres) is None:
        wanted.append(f"postgresql-{OLDEST_MAJOR}")
    return wanted


def find(path: str = PATH, postgres: Path = POSTGRES) -> Programs:
    """All programs. Raises `BadInput` with the packages that are missing."""
    wanted = missing(path, postgres)
    if wanted:
        raise BadInput(
            Code.BAD_REQUEST,
            "this machine has not all programs of a replicated Postgres",
            not_done="no node was started and no failover was tried",
            next_step=f"apt-get update && apt-get install -y {' '.join(wanted)}",
        )
    found: Mapping[str, Path] = {
        name: Path(str(shutil.which(name, path=path))) for name in PACKAGES
    }
    binaries = _postgres(postgres)
    assert binaries is not None
    return Programs(found["patroni"], found["etcd"], found["haproxy"], binaries)


def _postgres(root: Path) -> Path | None:
    """The newest server that is old enough for the ledger and whole."""
    folders = [one for one in root.glob("*") if one.name.isdecimal()] if root.is_dir() else []
    for folder in sorted(folders, key=lambda one: int(one.name), reverse=True):
        binaries = folder / "bin"
        whole = all((binaries / name).exists() for name in NEEDED_OF_POSTGRES)
        if whole and int(folder.name) >= OLDEST_MAJOR:
            return binaries
    return None
