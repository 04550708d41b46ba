"""A pytest plugin that writes down which functions each test runs: those of the database by its own counters, those of
the Python core by tracing calls.

``PROOF_RECORD=/path python -m pytest -p proof.mutation.recording tests/unit tests/integration``. Each process writes
``/path.<name>.json``; `coverage.merge` makes one of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import asyncpg
import pytest

from proof.mutation.targets import ROOT, python_files
from tests.support.servers import TestServer, in_thread

_FILES: Final = {str(ROOT / name): name for name in python_files()}
_COUNTED: Final = """
    SELECT f.schemaname || '.' || f.funcname AS name, sum(f.calls)::bigint AS calls FROM pg_stat_user_functions f
    WHERE f.schemaname IN ('ledger', 'audit') GROUP BY 1
"""
_OTHERS: Final = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_PATIENCE: Final = 30


class Recorder:
    """What ran, by test. A database that several tests share is read after each of them."""

    def __init__(self) -> None:
        self.now = ""
        self.ran: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self.traced: set[str] = set()
        self.open: list[Watched] = []
        self.counting: set[str] = set()

    def trace(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        name = _FILES.get(code.co_filename)
        if name is not None:
            self.traced.add(f"{name}:{code.co_qualname}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.now = nodeid
        self.traced = set()
        sys.settrace(self.trace)
        threading.settrace(self.trace)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.settrace(None)
        threading.settrace(None)
        self.ran[nodeid] |= self.traced
        for one in self.open:
            self.ran[nodeid] |= one.called()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # The setup of a module's first test is that of all, the server's among it.
        if report.when == "call":
            self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        if worker == "main" and session.config.getoption("numprocesses", None):
            return
        found = {
            test: {"seconds": round(self.seconds[test], 3), "covers": sorted(self.ran[test])}
            for test in sorted(self.ran)
            if test not in self.failed
        }
        target = Path(f"{os.environ['PROOF_RECORD']}.{worker}.json")
        target.write_text(json.dumps({"tests": found, "failed": sorted(self.failed)}))

    @contextmanager
    def watched(self, server: TestServer, name: str) -> Iterator[None]:
        one = Watched(server, name)
        self.open.append(one)
        try:
            yield
        finally:
            self.open.remove(one)
            self.ran[self.now] |= one.called(ending=True)


class Watched:
    """A database and what its counters said before."""

    def __init__(self, server: TestServer, name: str) -> None:
        self._address = server.admin.for_database(name).dsn()
        self._before: dict[str, int] = {}

    def called(self, *, ending: bool = False) -> set[str]:
        """The functions called since the last time."""
        now = in_thread(lambda: asyncio.run(_counts(self._address, ending)))
        news = {name for name, calls in now.items() if calls != self._before.get(name)}
        self._before = now
        return news


async def _counts(address: str, ending: bool) -> dict[str, int]:
    """A session reports what it counted when it ends, at the latest: that is waited for, not for long."""
    conn = await asyncpg.connect(address)
    try:
        if ending:
            await conn.fetch(f"SELECT pg_terminate_backend(pid) {_OTHERS}")
        for _ in range(_PATIENCE):
            if not await conn.fetchval(f"SELECT count(*) {_OTHERS}"):
                break
            await asyncio.sleep(0.01)
        return {row["name"]: row["calls"] for row in await conn.fetch(_COUNTED)}
    finally:
        await conn.close()


def pytest_configure(config: pytest.Config) -> None:
    import tests.support.database as databases

    recorder = Recorder()
    config.pluginmanager.register(recorder, "proof-recorder")
    original = databases.empty_database

    def make_countable(server: TestServer) -> None:
        if server.admin.dsn() not in recorder.counting:
            recorder.counting.add(server.admin.dsn())
            server.run("ALTER SYSTEM SET track_functions = 'all'", "SELECT pg_reload_conf()")

    @contextmanager
    def empty_database(
        server: TestServer, template: str = "template0", kind: str = ""
    ) -> Iterator[Any]:
        make_countable(server)
        with original(server, template, kind) as database:
            if kind:
                yield database
                return
            with recorder.watched(server, database.name):
                yield database

    for module in list(sys.modules.values()):
        if getattr(module, "empty_database", None) is original:
            module.empty_database = empty_database  # type: ignore[attr-defined]
