"""Generated passwords of login roles, and giving them to the server without showing them to it.

The server is sent the SCRAM verifier, never the password: a statement that fails is logged whole.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import tempfile
from pathlib import Path
from typing import Final

import asyncpg

from app.clock import Rng, SystemRng
from app.errors import Code, DatabaseProblem

_ITERATIONS: Final = 4096
"""What Postgres itself uses; the passwords are random, so more would only make logging in slower.
"""


class Credentials:
    """A file of role names and passwords, mode 0600, of the calling user."""

    def __init__(self, path: Path, rng: Rng | None = None) -> None:
        self._path = path
        self._rng = rng or SystemRng()

    def password(self, role: str) -> str:
        """The role's password, made if there is none yet. Several processes asking at once get the
        same.
        """
        try:
            known = self._read()
            if role not in known:
                known = self._add(role)
        except OSError as error:
            raise DatabaseProblem(
                Code.DATABASE_PRIVILEGE,
                f"the passwords of the database roles in {self._path} cannot be used: "
                f"{error.strerror}",
                not_done=f"role {role!r} was not given a password",
                next_step="run as the user that owns the file, or give the role's own "
                "LEDGER_DATABASE_URL",
            ) from error
        return known[role]

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise DatabaseProblem(
                Code.DATABASE_DAMAGED,
                f"{self._path} is not a file of role passwords",
                not_done="no password was read or changed",
                next_step="move it away; new passwords are made and set at the next start",
            )
        return found

    def _add(self, role: str) -> dict[str, str]:
        # the folder itself is the lock: a lock on the file would be lost by the rename below
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            known = self._read()
            if role not in known:
                known[role] = f"{self._rng.bits(192):048x}"
                self._write(known)
                os.fsync(folder)
        finally:
            os.close(folder)
        return known

    def _write(self, known: dict[str, str]) -> None:
        handle, fresh = tempfile.mkstemp(prefix=self._path.name, dir=self._path.parent)  # mode 0600
        try:
            with open(handle, "w") as file:
                json.dump(known, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
        except BaseException:
            os.unlink(fresh)
            raise


async def set_role_password(
    conn: asyncpg.Connection, role: str, password: str, rng: Rng | None = None
) -> None:
    """``ALTER ROLE … LOGIN PASSWORD`` with a verifier. The role must exist. Idempotent."""
    quoted = role.replace('"', '""')
    verifier = scram_verifier(password, (rng or SystemRng()).bits(128).to_bytes(16))
    await conn.execute(f"ALTER ROLE \"{quoted}\" LOGIN PASSWORD '{verifier}'")


def scram_verifier(password: str, salt: bytes) -> str:
    """What Postgres stores for SCRAM-SHA-256 (RFC 5803), for an ASCII password."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{b64[0]}${b64[1]}:{b64[2]}"
