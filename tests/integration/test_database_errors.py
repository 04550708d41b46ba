"""What cannot be used is named, with the next step, and left as it was."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.db import connect, embedded
from app.db.embedded import EmbeddedConfig, State
from app.db.embedded.problems import explain_output
from app.db.embedded.processes import live_postmaster
from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from tests.integration.test_embedded_server import listing
from tests.support.database import TestDatabase

SECRET = "s3cr3t-word"


@pytest.fixture(scope="module", name="made")
def _made() -> Iterator[EmbeddedConfig]:
    """A stopped database to make damaged copies of."""
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as above:
        Path(above).chmod(0o755)
        config = EmbeddedConfig(home=Path(above) / "home", shared_buffers_mb=32, fsync=False)
        embedded.start(config)
        embedded.stop(config)
        yield config


@pytest.fixture(name="copy")
def _copy(made: EmbeddedConfig) -> Iterator[EmbeddedConfig]:
    with tempfile.TemporaryDirectory(prefix="ledger-test-", dir="/tmp") as above:
        Path(above).chmod(0o755)
        home = Path(above) / "home"
        subprocess.run(["cp", "-a", made.home, home], check=True)
        config = EmbeddedConfig(home=home, shared_buffers_mb=32, fsync=False, patience_s=10)
        yield config
        if live_postmaster(config.data) is not None:
            embedded.stop(config, "immediate")


def refused(config: EmbeddedConfig) -> DatabaseProblem:
    """The problem of starting it; checks that the error helps and that the folder is as it was."""
    before = listing(config.home)
    with pytest.raises(DatabaseProblem) as caught:
        embedded.start(config)
    assert listing(config.home) == before
    assert caught.value.next_step
    assert str(config.home) in str(caught.value)
    return caught.value


# --------------------------------------------------------------------------------- data folders


def test_a_folder_with_other_things_in_it_is_not_ours() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "thesis.txt").write_text("years of work")
        config = EmbeddedConfig(home=Path(folder))
        assert refused(config).code is Code.DATABASE_NOT_OURS
        with pytest.raises(DatabaseProblem):
            embedded.stop(config)
        assert embedded.status(config).state is State.UNUSABLE


def test_another_programs_data_folder_is_not_ours(made: EmbeddedConfig) -> None:
    config = EmbeddedConfig(home=made.data)  # a Postgres data folder given as the home
    assert refused(config).code is Code.DATABASE_NOT_OURS


def test_a_file_where_the_folder_should_be_is_refused() -> None:
    with tempfile.NamedTemporaryFile() as file, pytest.raises(DatabaseProblem) as caught:
        embedded.start(EmbeddedConfig(home=Path(file.name)))
    assert caught.value.next_step


def _remove_version(config: EmbeddedConfig) -> None:
    (config.data / "PG_VERSION").unlink()


def _other_version(config: EmbeddedConfig) -> None:
    (config.data / "PG_VERSION").write_text("16\n")


def _empty_control(config: EmbeddedConfig) -> None:
    (config.data / "global" / "pg_control").write_bytes(b"")


def _lose_data(config: EmbeddedConfig) -> None:
    shutil.rmtree(config.data)


@pytest.mark.parametrize("damage", [_remove_version, _other_version, _empty_control, _lose_data])
def test_a_damaged_folder_is_named_and_left_alone(
    copy: EmbeddedConfig, damage: Callable[[EmbeddedConfig], None]
) -> None:
    damage(copy)
    assert refused(copy).code is Code.DATABASE_DAMAGED
    assert embedded.status(copy).state is State.UNUSABLE


def test_damage_that_only_the_server_sees_is_named_too(copy: EmbeddedConfig) -> None:
    control = copy.data / "global" / "pg_control"
    control.write_bytes(b"\xff" * control.stat().st_size)
    with pytest.raises(DatabaseProblem) as caught:
        embedded.start(copy)
    assert caught.value.code is Code.DATABASE_DAMAGED


def test_a_faulty_configuration_file_is_named(copy: EmbeddedConfig) -> None:
    with (copy.data / "postgresql.conf").open("a") as file:
        file.write("max_connections = many\n")
    with pytest.raises(DatabaseProblem) as caught:
        embedded.start(copy)
    assert caught.value.code is Code.BAD_SETTING
    assert "max_connections" in str(caught.value)


def test_a_lock_held_by_another_process_makes_the_folder_busy(copy: EmbeddedConfig) -> None:
    busy = EmbeddedConfig(home=copy.home, patience_s=0.1)
    waits: list[str] = []
    with copy.lock_file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DatabaseProblem) as caught:
            embedded.start(busy, progress=lambda what, _: waits.append(what))
    assert caught.value.code is Code.DATABASE_BUSY
    assert any("another process" in what for what in waits)


def test_a_server_that_somebody_else_started_on_the_folder_makes_it_busy(
    copy: EmbeddedConfig,
) -> None:
    server = embedded.start(copy)
    pid = live_postmaster(copy.data)
    # as if it had been started by hand with its socket elsewhere
    hidden = server.config.socket_file.rename(server.config.socket_dir / "elsewhere")
    try:
        with pytest.raises(DatabaseProblem) as caught:
            embedded.start(EmbeddedConfig(home=copy.home, patience_s=0.2))
    finally:
        hidden.rename(server.config.socket_file)
    assert caught.value.code is Code.DATABASE_BUSY
    assert str(pid) in str(caught.value)
    assert live_postmaster(copy.data) == pid


@contextmanager
def answering(config: EmbeddedConfig, code: str, message: str) -> Iterator[None]:
    """Something that listens on the server's socket and answers every session with one error."""
    body = f"SFATAL\0C{code}\0M{message}\0\0".encode()
    config.socket_dir.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(config.socket_file))
        listener.listen()

        def serve() -> None:
            while True:
                line, _ = listener.accept()
                with line:
                    if not line.recv(1024):
                        return
                    line.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(str(config.socket_file))
            thread.join()
            config.socket_file.unlink()


def test_recovery_is_waited_for_and_reported(copy: EmbeddedConfig) -> None:
    config = EmbeddedConfig(home=copy.home, patience_s=0.2)
    said: list[str] = []
    with answering(config, "57P03", "the database system is starting up"):
        assert embedded.status(config).state is State.STARTING
        with pytest.raises(DatabaseProblem) as caught:
            embedded.start(config, progress=lambda what, _: said.append(what))
    assert caught.value.code is Code.DATABASE_BUSY
    assert "nothing is lost" in caught.value.next_step
    assert "the database system is starting up" in said


def test_a_server_that_refuses_this_user_says_so(copy: EmbeddedConfig) -> None:
    refusing = answering(copy, "28000", "peer authentication failed")
    with refusing, pytest.raises(DatabaseProblem) as caught:
        embedded.start(copy)
    assert caught.value.code is Code.DATABASE_PRIVILEGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_this_user_may_not_write_is_named() -> None:
    with pytest.raises(DatabaseProblem) as caught:
        embedded.start(EmbeddedConfig(home=Path("/usr/ledger-test")))
    assert caught.value.code is Code.DATABASE_PRIVILEGE
    assert "LEDGER_DATA_DIR" in caught.value.next_step


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("FATAL:  could not write lock file: No space left on device", Code.DATABASE_UNREACHABLE),
        ("FATAL:  could not open file: Permission denied", Code.DATABASE_PRIVILEGE),
        ("PANIC:  could not locate a valid checkpoint record at 0/1", Code.DATABASE_DAMAGED),
        ("FATAL:  could not map anonymous shared memory", Code.DATABASE_UNREACHABLE),
        ("", Code.DATABASE_UNREACHABLE),
    ],
)
def test_what_the_server_says_becomes_a_next_step(said: str, code: Code) -> None:
    problem = explain_output(EmbeddedConfig(home=Path("/x")), said, doing="starting the server")
    assert problem.code is code
    assert problem.next_step
    assert "starting the server" in problem.not_done


# ----------------------------------------------------------------------------------- connections


async def failure(url: str) -> LedgerError:
    """The error of connecting, singly and by pool: the same, and without the password."""
    with pytest.raises(LedgerError) as caught:
        await connect.open_connection(url)
    with pytest.raises(LedgerError) as again:
        await connect.open_pool(url)
    assert again.value.code is caught.value.code
    for problem in (caught.value, again.value):
        shown = f"{problem} {problem!r} {problem.__cause__} {problem.__cause__!r}"
        assert SECRET not in shown
        assert problem.next_step
    return caught.value


async def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as taken:  # bound and not listening: refused, and nobody else's
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        problem = await failure(f"postgresql://u:{SECRET}@127.0.0.1:{port}/ledger")
    assert problem.code is Code.DATABASE_UNREACHABLE
    assert str(port) in str(problem)


async def test_a_socket_folder_without_a_server() -> None:
    problem = await failure(f"postgresql://u:{SECRET}@/ledger?host=/nonexistent")
    assert problem.code is Code.DATABASE_UNREACHABLE


async def test_a_host_that_has_no_address() -> None:
    problem = await failure(f"postgresql://u:{SECRET}@no-such-host.invalid/ledger")
    assert problem.code is Code.DATABASE_UNREACHABLE


async def test_a_wrong_password(blank_database: TestDatabase) -> None:
    url = blank_database.url_for("worker")
    right = blank_database.server.credentials.password(blank_database.server.role_prefix + "worker")
    problem = await failure(url.replace(right, SECRET))
    assert problem.code is Code.DATABASE_PRIVILEGE


async def test_a_database_that_does_not_exist(blank_database: TestDatabase) -> None:
    url = blank_database.url.replace(blank_database.name, "ledger_test_absent")
    problem = await failure(url)
    assert problem.code is Code.DATABASE_UNREACHABLE
    assert "alembic upgrade head" in problem.next_step


async def test_a_file_of_certificates_that_is_not_there(blank_database: TestDatabase) -> None:
    problem = await failure(
        f"postgresql://u:{SECRET}@127.0.0.1:1/d?sslmode=verify-ca&sslrootcert=/nonexistent"
    )
    assert problem.code in (Code.BAD_SETTING, Code.DATABASE_UNREACHABLE)


async def test_only_a_server_that_can_be_written_to_will_do(blank_database: TestDatabase) -> None:
    owner = await blank_database.connect()
    await owner.execute(
        f"ALTER DATABASE {blank_database.name} SET default_transaction_read_only = on"
    )
    mark = "&" if "?" in blank_database.url else "?"
    problem = await failure(f"{blank_database.url}{mark}target_session_attrs=read-write")
    assert problem.code is Code.DATABASE_UNREACHABLE
    assert "primary" in problem.next_step


async def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        await connect.open_connection(f"postgresql://u:{SECRET}/more@host/ledger")
    assert caught.value.code is Code.BAD_SETTING
    assert SECRET not in str(caught.value)


async def test_sessions_bear_the_name_of_their_use(blank_database: TestDatabase) -> None:
    conn = await connect.open_connection(blank_database.url, role_hint="worker")
    try:
        await connect.check_version(conn)
        assert await conn.fetchval("SHOW application_name") == "ledger worker"
    finally:
        await conn.close()
    pool = await connect.open_pool(blank_database.url, role_hint="bot", statement_cache=False)
    try:
        assert await pool.fetchval("SHOW application_name") == "ledger bot"
    finally:
        await pool.close()


async def test_postgres_15_is_new_enough(debian_server: object) -> None:
    from tests.support.servers import TestServer

    assert isinstance(debian_server, TestServer)
    conn = await connect.open_connection(debian_server.admin.dsn())
    try:
        await connect.check_version(conn)
    finally:
        await conn.close()


async def test_an_older_server_is_refused() -> None:
    class Old:
        async def fetchval(self, _sql: str) -> str:
            return "140011"

    with pytest.raises(DatabaseProblem, match="Postgres 14"):
        await connect.check_version(Old())


async def test_a_connection_notices_a_peer_that_has_gone() -> None:
    """Half-open, a session would hold every call that was handed to it, cancels among them."""
    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, peer: peers.append(peer), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        await connect.notice_dead_peers(SimpleNamespace(_transport=writer.transport))
        channel = writer.get_extra_info("socket")
        assert channel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    finally:
        for each in (writer, *peers):
            each.close()
            await each.wait_closed()
        server.close()
