"""Makes a data folder: initdb, the settings the ledger needs, and who may come in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from app.db.embedded.accounts import Account
from app.db.embedded.config import ADMIN_ROLE, EmbeddedConfig
from app.db.embedded.problems import explain_os_error, explain_output

_NEW_DATA: Final = "pg.new-"
_INITDB_GIVES_UP_S: Final = 5.0
_BUILTIN_LOCALES_SINCE: Final = 17


def make_data(config: EmbeddedConfig, folder: Path, account: Account) -> None:
    """initdb into a neighbour, then rename: a kill at any point leaves either no data folder or a
    whole one.
    """
    for left_over in config.home.glob(_NEW_DATA + "*"):
        _remove(left_over)
    try:
        fresh = Path(tempfile.mkdtemp(prefix=_NEW_DATA, dir=config.home))
    except OSError as error:
        raise explain_os_error(config.home, error, doing="making the data folder") from error
    try:
        account.take(fresh)
        _initdb(config, folder, account, fresh)
        _write_settings(config, account, fresh)
        os.rename(fresh, config.data)
        _sync_folder(config.home)
    except OSError as error:
        raise explain_os_error(config.home, error, doing="making the data folder") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _remove(left_over: Path) -> None:
    """Again until it is gone: the initdb of a killed starter may still write, and gives up then."""
    give_up = time.monotonic() + _INITDB_GIVES_UP_S
    while left_over.exists() and time.monotonic() < give_up:
        shutil.rmtree(left_over, ignore_errors=True)


def _initdb(config: EmbeddedConfig, folder: Path, account: Account, fresh: Path) -> None:
    # C.UTF-8 sorts by code point and is the same on every machine, so an index never depends on the
    # C library
    locale = ["--locale=C.UTF-8"]
    if config.major >= _BUILTIN_LOCALES_SINCE:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command: list[str | Path] = [folder / "initdb", "-D", fresh, "-U", ADMIN_ROLE, "--auth=reject",
               "--encoding=UTF8", *locale, "--data-checksums", "--no-instructions"]  # fmt: skip
    if not config.fsync:
        command.append("--no-sync")
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **account.spawn_options(),
    )
    if done.returncode != 0:
        raise explain_output(config, done.stdout, doing="making the data folder")


def _write_settings(config: EmbeddedConfig, account: Account, fresh: Path) -> None:
    durable = "on" if config.fsync else "off"
    settings = f"""
# set when the ledger made this folder; yours to change, the last line of a name wins
listen_addresses = ''
max_connections = {config.max_connections}
shared_buffers = {config.shared_buffers_mb}MB
fsync = {durable}
full_page_writes = {durable}
synchronous_commit = on
wal_level = replica
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
lc_messages = 'C'
"""
    rules = f"""# the owner by its system user, all others by password, nobody over the network
local all {ADMIN_ROLE} peer map=ledger
local all all scram-sha-256
"""
    names = dict.fromkeys((account.name, "root"))
    users = "".join(f'ledger "{name}" {ADMIN_ROLE}\n' for name in names)
    _write(fresh / "postgresql.conf", settings, os.O_APPEND)
    _write(fresh / "pg_hba.conf", rules, os.O_TRUNC)
    _write(fresh / "pg_ident.conf", users, os.O_TRUNC)


def _write(path: Path, text: str, how: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | how), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
