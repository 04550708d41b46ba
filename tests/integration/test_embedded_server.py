"""The embedded server's life: first start, many starters, crashes, and leaving it alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

import app
from app.db import embedded
from app.db.embedded import EmbeddedConfig, Server, State
from app.db.embedded.processes import live_postmaster
from app.errors import Code, DatabaseProblem
from tests.support.waiting import wait_until

AS_ROOT = os.geteuid() == 0

START = """
import sys
from pathlib import Path
from app.db import embedded
config = embedded.EmbeddedConfig(home=Path(sys.argv[1]), shared_buffers_mb=32, fsync=False)
embedded.start(config)
print(embedded.status(config).pid)
"""


@pytest.fixture(name="home")
def _home() -> Iterator[Path]:
    """A home that does not exist yet, below a folder that the run user can pass."""
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as above:
        Path(above).chmod(0o755)
        yield Path(above) / "home"


@pytest.fixture(name="config")
def _config(home: Path) -> Iterator[EmbeddedConfig]:
    """A small server's config; what runs of it is ended after the test."""
    config = EmbeddedConfig(home=home, shared_buffers_mb=32, fsync=False)
    yield config
    with suppress(DatabaseProblem):
        embedded.stop(config, "immediate")


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Server]:
    with embedded.throwaway(fsync=False) as server:
        yield server


def starter(config: EmbeddedConfig, script: str = START) -> subprocess.Popen[str]:
    """Another process that runs ``script`` with the home as its argument."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(config.home)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below with mode, size and time: equal before and after means untouched."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        info = path.lstat()
        found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns)
    return found


def kill_postmaster(config: EmbeddedConfig) -> int:
    pid = live_postmaster(config.data)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: live_postmaster(config.data) is None, "the killed postmaster is gone")
    return pid


# ------------------------------------------------------------------------------- what it is like


async def test_the_owner_comes_in_without_a_password(server: Server) -> None:
    conn = await asyncpg.connect(server.url())
    try:
        assert await conn.fetchval("SELECT session_user") == "ledger_admin"
        assert await conn.fetchval("SELECT current_database()") == "ledger"
    finally:
        await conn.close()


async def test_a_role_needs_its_generated_password(server: Server) -> None:
    conn = await asyncpg.connect(server.url())
    try:
        await conn.execute("CREATE ROLE ledger_trader NOLOGIN")
        await server.ensure_login_role(conn, "ledger_trader")
        await server.ensure_login_role(conn, "ledger_trader")
        trader = await asyncpg.connect(server.url("ledger_trader"))
        assert await trader.fetchval("SELECT session_user") == "ledger_trader"
        await trader.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url("ledger_trader"), password="guessed")
    finally:
        await conn.close()


async def test_a_role_cannot_become_the_owner(server: Server) -> None:
    conn = await asyncpg.connect(server.url())
    try:
        await conn.execute("CREATE ROLE ledger_risk LOGIN PASSWORD 'x'")
        rules = await conn.fetch("SELECT type, auth_method, user_name FROM pg_hba_file_rules")
    finally:
        await conn.close()
    assert [(r["type"], r["auth_method"]) for r in rules] == [
        ("local", "peer"),
        ("local", "scram-sha-256"),
    ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", ""),
        ("data_checksums", "on"),
        ("synchronous_commit", "on"),
        ("wal_level", "replica"),
        ("max_connections", "200"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
    ],
)
async def test_the_server_is_set_up_as_the_ledger_needs_it(
    server: Server, setting: str, value: str
) -> None:
    conn = await asyncpg.connect(server.url())
    try:
        assert await conn.fetchval("SELECT current_setting($1)", setting) == value
    finally:
        await conn.close()


async def test_a_lasting_server_waits_for_the_disk(config: EmbeddedConfig) -> None:
    server = embedded.start(replace(config, fsync=True))
    conn = await asyncpg.connect(server.url())
    try:
        assert await conn.fetchval("SHOW fsync") == "on"
        assert await conn.fetchval("SHOW full_page_writes") == "on"
    finally:
        await conn.close()


def test_passwords_lie_in_a_file_of_the_callers_own(server: Server) -> None:
    first = server.role_password("ledger_worker")
    file = server.config.credentials_file
    assert server.role_password("ledger_worker") == first
    assert server.role_password("ledger_auditor") != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_uid == os.geteuid()
    assert first not in repr(server)


# ---------------------------------------------------------------------------- starting, stopping


def test_starting_twice_finds_the_same_server(config: EmbeddedConfig) -> None:
    embedded.start(config)
    first = embedded.status(config)
    embedded.start(config)
    assert embedded.status(config) == first
    assert first.state is State.RUNNING
    assert first.server_version.startswith("18")


def test_several_processes_starting_at_once_start_exactly_one(config: EmbeddedConfig) -> None:
    starters = [starter(config) for _ in range(6)]
    pids = {process.communicate(timeout=60)[0].strip() for process in starters}
    assert [process.returncode for process in starters] == [0] * 6
    assert pids == {str(embedded.status(config).pid)}
    assert config.log_file.read_text().count("starting PostgreSQL") == 1


def test_the_server_outlives_the_process_that_started_it(config: EmbeddedConfig) -> None:
    process = starter(config)
    started = int(process.communicate(timeout=60)[0])
    assert embedded.status(config).pid == started
    assert os.getsid(started) != os.getsid(0)


def test_stopping_ends_the_server_and_only_once(config: EmbeddedConfig) -> None:
    embedded.start(config)
    assert embedded.stop(config)
    assert embedded.status(config).state is State.STOPPED
    assert not embedded.stop(config)


async def test_a_smart_stop_waits_for_sessions_and_says_so(config: EmbeddedConfig) -> None:
    server = embedded.start(config)
    conn = await asyncpg.connect(server.url())
    try:
        with pytest.raises(DatabaseProblem) as caught:
            embedded.stop(replace(config, patience_s=0.1), "smart")
        assert caught.value.code is Code.DATABASE_BUSY
    finally:
        conn.terminate()


def test_looking_at_nothing_makes_nothing(config: EmbeddedConfig) -> None:
    assert embedded.status(config).state is State.NONE
    assert not embedded.stop(config)
    assert not config.home.exists()


@pytest.mark.parametrize("name", ["a" * 120, "with space, comma and 'quotes\" $HOME", "größe"])
async def test_any_folder_name_will_do(config: EmbeddedConfig, name: str) -> None:
    config = replace(config, home=config.home / name)
    config.home.parent.mkdir(mode=0o755)
    server = embedded.start(config)
    try:
        conn = await asyncpg.connect(server.url())
        await conn.close()
        assert len(os.fsencode(config.socket_file)) <= 107
    finally:
        embedded.stop(config, "immediate")
        config.socket_dir.rmdir()


def test_a_throwaway_server_is_gone_afterwards_also_after_an_error() -> None:
    seen: list[Server] = []

    def fail() -> None:
        with embedded.throwaway(fsync=False) as server:
            seen.append(server)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not seen[0].config.home.exists()
    assert embedded.status(seen[0].config).state is State.NONE


def test_a_throwaway_server_is_gone_after_its_process_was_killed(config: EmbeddedConfig) -> None:
    script = """
import sys
from app.db import embedded
with embedded.throwaway(fsync=False) as server:
    print(server.config.home, embedded.status(server.config).pid, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    home, pid = process.stdout.readline().split()
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(home).exists(), "the folder is removed")
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_text()


# --------------------------------------------------------------------------------------- crashes


async def test_what_was_committed_is_there_after_the_server_was_killed(
    config: EmbeddedConfig,
) -> None:
    server = embedded.start(config)
    conn = await asyncpg.connect(server.url())
    await conn.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    kill_postmaster(config)  # with a live session, whose process has yet to notice
    conn.terminate()
    embedded.start(config)
    conn = await asyncpg.connect(server.url())
    try:
        assert await conn.fetchval("SELECT count(*) FROM kept") == 1000
    finally:
        await conn.close()


async def test_a_start_waits_for_a_process_of_the_killed_server_that_still_computes(
    config: EmbeddedConfig,
) -> None:
    server = embedded.start(config)
    conn = await asyncpg.connect(server.url())
    watcher = await asyncpg.connect(server.url())
    pid = conn.get_server_pid()
    work = asyncio.ensure_future(conn.execute("SELECT count(*) FROM generate_series(1, 1e12)"))
    computing = (
        "SELECT query LIKE '%1e12%' AND state = 'active' FROM pg_stat_activity WHERE pid = $1"
    )
    async with asyncio.timeout(20):
        while not await watcher.fetchval(computing, pid):
            assert not work.done()
    watcher.terminate()
    kill_postmaster(config)
    waits: list[str] = []

    def end_it(what: str, _seconds: float) -> None:
        waits.append(what)
        if "killed server" in what:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    embedded.start(config, progress=end_it)
    assert any("killed server" in what for what in waits)
    conn.terminate()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await work


def test_the_number_of_a_killed_server_may_belong_to_another_program_by_now(
    config: EmbeddedConfig,
) -> None:
    embedded.start(config)
    kill_postmaster(config)
    owner = config.data.stat()
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, user=owner.st_uid if AS_ROOT else None
    ) as other:
        pid_file = config.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{other.pid}\n", *lines[1:]]))
        assert embedded.status(config).state is State.STOPPED
        embedded.start(config)
        assert embedded.status(config).state is State.RUNNING
        assert other.poll() is None


def test_a_start_killed_while_making_the_folder_leaves_nothing_half(config: EmbeddedConfig) -> None:
    process = starter(config)
    wait_until(lambda: list(config.home.glob("pg.new-*/base")), "initdb is at work")
    process.kill()
    process.communicate()
    assert not config.data.exists()
    embedded.start(config)
    assert embedded.status(config).state is State.RUNNING
    assert not list(config.home.glob("pg.new-*"))


# ----------------------------------------------------------------------------- users and folders


def test_the_home_is_closed_where_it_must_be(config: EmbeddedConfig) -> None:
    before = stat.S_IMODE(config.home.parent.stat().st_mode)
    embedded.start(config)
    assert stat.S_IMODE(config.home.parent.stat().st_mode) == before
    assert stat.S_IMODE(config.data.stat().st_mode) == 0o700
    assert config.data.stat().st_uid != 0
    assert stat.S_IMODE(config.lock_file.stat().st_mode) == 0o644
    assert stat.S_IMODE(config.home.stat().st_mode) == (0o755 if AS_ROOT else 0o700)


@pytest.mark.skipif(not AS_ROOT, reason="only root can close a folder to the run user")
def test_binaries_below_a_closed_folder_are_copied_and_it_stays_closed(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.db.embedded import install

    real = install._package_folder()
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as closed:
        for name in (real.name, install._LIBRARIES):
            (Path(closed) / name).symlink_to(real.parent / name)
        monkeypatch.setattr(install, "_package_folder", lambda: Path(closed) / real.name)
        embedded.start(config)
        assert stat.S_IMODE(Path(closed).stat().st_mode) == 0o700
    copies = list(config.home.glob("pginstall-*"))
    assert len(copies) == 1
    assert copies[0].stat().st_uid == 0
    pid = embedded.status(config).pid
    assert os.readlink(f"/proc/{pid}/exe").startswith(str(copies[0]))


@pytest.mark.skipif(not AS_ROOT, reason="only root can close a folder to the run user")
def test_a_home_below_a_closed_folder_is_refused_and_it_stays_closed() -> None:
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as closed:
        config = EmbeddedConfig(home=Path(closed) / "home", fsync=False)
        with pytest.raises(DatabaseProblem) as caught:
            embedded.start(config)
        assert caught.value.code is Code.DATABASE_PRIVILEGE
        assert closed in str(caught.value)
        assert stat.S_IMODE(Path(closed).stat().st_mode) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root can start as another user")
async def test_root_connects_to_the_server_of_its_run_user(config: EmbeddedConfig) -> None:
    server = embedded.start(config)
    assert config.data.owner() == "ledger"
    conn = await asyncpg.connect(server.url())
    await conn.close()


@pytest.fixture(name="open_code")
def _open_code() -> Iterator[Path]:
    """The product and its driver, copied to where every user may read them."""
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as folder:
        code = Path(folder)
        code.chmod(0o755)
        for package in (Path(app.__file__).parent, Path(asyncpg.__file__).parent):
            shutil.copytree(
                package, code / package.name, ignore=shutil.ignore_patterns("__pycache__")
            )
        yield code


def run_as_nobody(open_code: Path, script: str, *arguments: str) -> str:
    """What a script prints, run by the first interpreter that another user can run the product with."""
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3")
    others = [shutil.which(name, path="/usr/local/bin:/usr/bin:/bin") for name in names]
    tried = []
    for python in dict.fromkeys(found for found in (sys.executable, *others) if found):
        command = ["/usr/bin/env", "-i", f"PYTHONPATH={open_code}", python, "-c"]
        can = subprocess.run(
            [*command, "import app.db.embedded"], capture_output=True, cwd="/", user="nobody"
        )
        if can.returncode == 0:
            done = subprocess.run(
                [*command, script, *arguments],
                capture_output=True,
                text=True,
                cwd="/",
                user="nobody",
                check=True,
            )
            return done.stdout
        tried.append(python)
    pytest.skip(f"none of {tried} can be run by another user with this version's modules")


@pytest.mark.skipif(not AS_ROOT, reason="only root can start as another user")
def test_an_ordinary_user_is_refused_on_roots_database_in_plain_words(
    config: EmbeddedConfig, open_code: Path
) -> None:
    script = """
import sys
from pathlib import Path
from app.db import embedded
from app.errors import DatabaseProblem
try:
    embedded.start(embedded.EmbeddedConfig(home=Path(sys.argv[1])))
except DatabaseProblem as problem:
    print(problem.code, problem.next_step)
"""
    for running in (True, False):
        embedded.start(config) if running else embedded.stop(config)
        before = sorted(config.home.iterdir())
        said = run_as_nobody(open_code, script, str(config.home))
        assert said.startswith("DATABASE_PRIVILEGE")
        assert "LEDGER_DATABASE_URL" in said
        assert sorted(config.home.iterdir()) == before


def test_the_default_home_depends_on_the_user_and_the_setting() -> None:
    given = EmbeddedConfig.from_environment({"LEDGER_DATA_DIR": "~/x", "HOME": "/people/u"})
    assert given.home == Path("/people/u/x")
    default = EmbeddedConfig.from_environment({"HOME": "/people/u"})
    assert default.home == Path("/var/lib/ledger" if AS_ROOT else "/people/u/.local/share/ledger")
    if not AS_ROOT:
        xdg = EmbeddedConfig.from_environment({"HOME": "/people/u", "XDG_DATA_HOME": "/data"})
        assert xdg.home == Path("/data/ledger")
