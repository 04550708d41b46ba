"""What an embedded server is told, and where its things lie.

One folder, the *home*, holds everything of one embedded database::

    home/ledger.lock        flock around making, starting and stopping; its presence says "ours"
    home/initialised        a database was made here: a missing pg/ is then a loss, no first start
    home/credentials.json   generated passwords of the login roles, mode 0600
    home/pg/                the data folder of Postgres, mode 0700, of the run user
    home/run/               the Unix socket (see `EmbeddedConfig.socket_dir` for long paths)
    home/log/postgres.log   what the server says
    home/pginstall-*/       a copy of the binaries, where the run user cannot reach the originals
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import BadInput, Code

ADMIN_ROLE: Final = "ledger_admin"
"""Superuser of the embedded cluster, by ``peer``: the run user and root become it, without
password.
"""

DATABASE: Final = "ledger"
PORT: Final = 5432
MAJOR: Final = 18

_LONGEST_SOCKET_PATH: Final = 107
"""``sun_path`` has 108 bytes with the closing NUL; Postgres refuses to start beyond."""

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9._/+@-]+")
"""Postgres splits socket folders at commas and so do drivers: anything unusual goes to the short
path.
"""


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """How one embedded server is made and run. Times in seconds."""

    home: Path
    run_user: str = "ledger"
    """System user that runs the server when the caller is root. Otherwise the caller runs it."""
    patience_s: float = 120.0
    """How long start and stop wait. Crash recovery after a power cut takes its time and must not be
    cut short.
    """
    shared_buffers_mb: int = 256
    max_connections: int = 200
    fsync: bool = True
    """False only for data that may vanish with the machine (tests)."""
    database: str = DATABASE
    binaries: Path | None = None
    """Folder with ``initdb`` and ``postgres``; None means those of the wheel."""
    major: int = MAJOR
    """Major version of these binaries."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> EmbeddedConfig:
        """The home of this user: ``LEDGER_DATA_DIR``, else ``/var/lib/ledger`` for root, else the
        XDG data folder.
        """
        env = os.environ if environment is None else environment
        given = env.get("LEDGER_DATA_DIR", "").strip()
        if given:
            return cls(home=_absolute(given, "LEDGER_DATA_DIR", env))
        if os.geteuid() == 0:
            return cls(home=Path("/var/lib/ledger"))
        # the XDG base directory specification says that relative paths there are to be ignored
        data = env.get("XDG_DATA_HOME", "")
        base = Path(data) if data.startswith("/") else _absolute("~/.local/share", "HOME", env)
        return cls(home=base / "ledger")

    @property
    def data(self) -> Path:
        return self.home / "pg"

    @property
    def lock_file(self) -> Path:
        return self.home / "ledger.lock"

    @property
    def initialised_file(self) -> Path:
        return self.home / "initialised"

    @property
    def credentials_file(self) -> Path:
        return self.home / "credentials.json"

    @property
    def log_file(self) -> Path:
        return self.home / "log" / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """``home/run``, or a short private folder below /tmp where that path is too long or
        unusual.

        Depends on the home alone (not on the user or TMPDIR), so that every process finds the same
        socket.
        """
        near = self.home / "run"
        longest = len(os.fsencode(near / f".s.PGSQL.{PORT}"))
        if longest <= _LONGEST_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(near)):
            return near
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path("/tmp") / f"ledger-{digest}"  # noqa: S108 - made 0700/0755 and its owner is checked

    @property
    def socket_file(self) -> Path:
        return self.socket_dir / f".s.PGSQL.{PORT}"


def _absolute(text: str, setting: str, env: Mapping[str, str]) -> Path:
    if text == "~" or text.startswith("~/"):
        user_home = env.get("HOME", "")
        if not user_home.startswith("/"):
            raise BadInput(
                Code.BAD_SETTING,
                "there is no home folder (HOME is not set), so there is no place for the "
                "embedded database",
                not_done="nothing was created",
                next_step="set LEDGER_DATA_DIR to a folder, or LEDGER_DATABASE_URL to a server",
            )
        text = user_home + text[1:]
    if "\0" in text or "\n" in text:
        raise BadInput(Code.BAD_SETTING, f"{setting} is not the name of a folder")
    return Path(os.path.abspath(text))
