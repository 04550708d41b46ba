"""Servers that vanish: for the demo and the tests, which never touch a database that somebody
keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.db.embedded.config import EmbeddedConfig
from app.db.embedded.lifecycle import start, stop
from app.db.embedded.server import Server
from app.errors import DatabaseProblem


@contextmanager
def throwaway(
    *,
    fsync: bool = True,
    binaries: Path | None = None,
    major: int | None = None,
    under: Path | None = None,
) -> Iterator[Server]:
    """A server of one's own in a temporary folder (``under`` one, else where temporary files go), ended and
    removed afterwards, also when this process is killed.
    """
    config = EmbeddedConfig(
        home=_temporary_home(under), shared_buffers_mb=64, fsync=fsync, binaries=binaries
    )
    if major is not None:
        config = replace(config, major=major)
    guard = _guard(config)
    try:
        yield start(config)
    finally:
        with suppress(DatabaseProblem):
            stop(config, "immediate")
        shutil.rmtree(config.home, ignore_errors=True)
        shutil.rmtree(config.socket_dir, ignore_errors=True)
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def _temporary_home(under: Path | None) -> Path:
    """A new folder that the run user can reach: TMPDIR may lie below a closed folder, which then
    stays closed.
    """
    for base in (under or Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - mkdtemp names it
        if os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in (base, *base.parents)):
            break
    home = Path(tempfile.mkdtemp(prefix="ledger-throwaway-", dir=base))
    if os.geteuid() == 0:
        home.chmod(0o755)
    return home


_GUARD: Final = """
read -r _
[ -d "$1" ] || exit 0
read -r pid < "$1/pg/postmaster.pid" && kill -QUIT "$pid"
while [ -n "$pid" ] && kill -0 "$pid" && [ $((tries += 1)) -lt 100 ]; do sleep 0.1; done
rm -rf "$1" "$2"
"""


def _guard(config: EmbeddedConfig) -> subprocess.Popen[bytes]:
    """A shell that reads from a pipe of ours: the pipe ends with this process, however it ends."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "sh", config.home, config.socket_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
