"""A Postgres server for the tests, found where there is one.

In this order: ``LEDGER_TEST_DATABASE_URL`` (a role that may create databases and roles), a
container where a Docker daemon answers, else the embedded server in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from app.db import embedded
from app.db.credentials import Credentials
from app.db.url import DatabaseUrl, parse
from tests.support.sessions import Session

SETTING = "LEDGER_TEST_DATABASE_URL"
IMAGE = "postgres:18"
_DOCKER_ANSWER_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class TestServer:
    """A server on which tests may make databases. ``admin`` leads to its maintenance database."""

    __test__: ClassVar[bool] = False

    admin: DatabaseUrl
    origin: str
    credentials: Credentials
    embedded: embedded.Server | None = None
    role_prefix: str = "ledger_"

    _sessions: list[Session] = field(default_factory=list, repr=False, compare=False)

    def run(self, *statements: str, database: str | None = None) -> None:
        """Each statement in a transaction of its own; works with and without an event loop."""
        if database is not None:
            session = Session(self.admin.for_database(database).dsn())
            try:
                session.execute(*statements)
            finally:
                session.close()
            return
        if not self._sessions:
            self._sessions.append(Session(self.admin.dsn()))
        self._sessions[0].execute(*statements)

    def close(self) -> None:
        """End the session that `run` keeps."""
        for session in self._sessions:
            session.close()


def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work outside the test's event loop and hand back what it returns or raises.

    Nobody waits for the thread beyond that: a test that is ended by its limit ends, whatever the work hangs at.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result()


@contextmanager
def find_server() -> Iterator[TestServer]:
    """The server of this test session."""
    given = os.environ.get(SETTING, "").strip()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-test-")))
        credentials = Credentials(folder / "credentials.json")
        if given:
            # roles belong to the whole server: those of a real ledger there keep their passwords
            url = parse(given, setting=SETTING)
            yield TestServer(url, SETTING, credentials, role_prefix="ledger_test_")
            return
        address = stack.enter_context(_container()) if docker_answers() else None
        if address is not None:
            yield TestServer(parse(address), "container", credentials)
            return
        # the data ends with the session, so waiting for the disk would only make the tests slow
        server = embedded.throwaway(fsync=False, under=memory())
        yield of_embedded(stack.enter_context(server), credentials)


@contextmanager
def debian_server() -> Iterator[TestServer | None]:
    """The oldest supported Postgres, from Debian's package, on a socket of its own; None where it
    is not installed.
    """
    found = debian_binaries()
    if found is None:
        yield None
        return
    folder, major = found
    with (
        tempfile.TemporaryDirectory(prefix="ledger-test-") as kept,
        embedded.throwaway(fsync=False, binaries=folder, major=major, under=memory()) as server,
    ):
        yield of_embedded(server, Credentials(Path(kept) / "credentials.json"))


def memory() -> Path | None:
    """A file system in memory with room for the servers of all test processes, if there is one: a database is made
    for nearly every test, and on a disk that is most of what a test costs.
    """
    folder, information = Path("/dev/shm"), Path("/proc/meminfo")
    if not (os.access(folder, os.W_OK) and information.exists()):
        return None
    [available] = [
        int(line.split()[1]) * 1024
        for line in information.read_text().splitlines()
        if line.startswith("MemAvailable:")
    ]
    return folder if min(available, shutil.disk_usage(folder).free) > 8 * 2**30 else None


def of_embedded(server: embedded.Server, credentials: Credentials) -> TestServer:
    return TestServer(parse(server.url(database="postgres")), "embedded", credentials, server)


def debian_binaries() -> tuple[Path, int] | None:
    """Folder and major version of the system's own Postgres server."""
    folders = [Path("/usr/lib/postgresql/15/bin")]
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(said.stdout.strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            said = subprocess.run(
                [folder / "postgres", "--version"], capture_output=True, text=True, check=True
            )
            return folder, int(
                said.stdout.split()[-1 if "(" not in said.stdout else 2].split(".")[0]
            )
    return None


def docker_answers() -> bool:
    """Whether a Docker daemon answers on its socket, within a second. A remote DOCKER_HOST is taken
    at its word.
    """
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_DOCKER_ANSWER_S)
            line.connect(host.removeprefix("unix://"))
            line.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in line.recv(256)
    except OSError:
        return False


@contextmanager
def _container() -> Iterator[str | None]:
    """A server in a container; None, with a warning, where Docker answers but cannot run it (no
    image, no network).
    """
    from testcontainers.postgres import PostgresContainer  # slow to import, and seldom needed

    container = PostgresContainer(IMAGE, dbname="postgres", driver=None)
    try:
        container.start()
    except Exception as error:  # noqa: BLE001 - whatever Docker's client raises, the embedded server does as well
        warnings.warn(f"Docker answers, but {IMAGE} did not start: {error}", stacklevel=2)
        yield None
        return
    try:
        yield container.get_connection_url()
    finally:
        container.stop()
