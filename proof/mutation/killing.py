"""A pytest plugin that holds mutants against tests: collect once, then a forked process for each mutant.

``PROOF_JOBS`` names a file of jobs (mutant, tests in their order), ``PROOF_VERDICTS`` the file to which a line is added
for each. They share one server, which is begun before the first; each mutant of SQL gets a template of its own.
A test that fails on a mutant is run on it once more, and on the unchanged code: what fails there says nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import asyncpg
import hypothesis
import pytest

from app.roles import RolePrefix
from proof.mutation import forking
from proof.mutation.forking import Answer, in_child
from proof.mutation.mutants import Edit, Mutant
from proof.mutation.patching import Stillborn, put_in_place, sql_of
from tests.support.servers import TestServer, in_thread

TEST_S: Final = 12.0
SLOWER: Final = 4
"""A test that takes longer, and so many times longer than it took unchanged, was brought to a standstill by the mutant;
the unchanged code must pass it then, on the same busy machine.
"""

DOUBTFUL_RUNS: Final = 4

hypothesis.settings.register_profile(
    "mutation",
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)


class Killer:
    """The run loop in place of pytest's own."""

    def __init__(self) -> None:
        self._server: TestServer | None = None
        self._template = ""
        self._items: dict[str, pytest.Item] = {}
        self._by_function: dict[str, Counter[str]] = {}
        self._kills: Counter[str] = Counter()
        self._sound: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        import tests.support.database as databases
        from tests.support.servers import find_server

        jobs = json.loads(Path(os.environ["PROOF_JOBS"]).read_text("utf-8"))
        self._items = {item.nodeid: item for item in session.items}
        until = time.monotonic() + float(os.environ.get("PROOF_SECONDS", "1e9"))
        original = databases.migrated_template
        with ExitStack() as stack:
            server = self._server = stack.enter_context(find_server())
            base = self._template = stack.enter_context(original(server))
            # Looked up by the fixtures when they are called.
            vars(databases).update(
                find_server=lambda: _lent(server), migrated_template=self._lent_template
            )
            gc.freeze()
            with Path(os.environ["PROOF_VERDICTS"]).open("a", encoding="utf-8") as out:
                for job in jobs:
                    if time.monotonic() > until:
                        break
                    self._template = base
                    verdict = self._judge(job, base)
                    self._clear(base)
                    out.write(json.dumps(verdict) + "\n")
                    out.flush()
        return True

    @contextmanager
    def _lent_template(self, server: TestServer) -> Iterator[str]:
        assert server is self._server, "a test that brings its own server judges nothing"
        yield self._template

    # --- one mutant ---------------------------------------------------------------------------------

    def _judge(self, job: dict[str, Any], base: str) -> Answer:
        started = time.monotonic()
        mutant = _mutant(job)
        tests = [name for name in job["tests"] if name in self._items]
        first = self._by_function.setdefault(job["function"], Counter(job["history"]))
        # What has killed in this function goes first, what has killed elsewhere goes further to the front.
        prices: dict[str, float] = job["prices"]
        tests.sort(
            key=lambda name: prices[name] / (1 + 0.5 * self._kills[name]) / (1 + 6 * first[name])
        )
        try:
            self._template = self._changed_template(mutant, base)
            verdict = self._run(mutant, tests, job, base)
        except Stillborn as reason:
            verdict = {"verdict": "stillborn", "how": str(reason)[:300]}
        if verdict["verdict"] == "killed":
            first[verdict["by"]] += 1
            self._kills[verdict["by"]] += 1
        return {
            "name": job["name"],
            "digest": job["digest"],
            "file": job["file"],
            "seconds": round(time.monotonic() - started, 2),
            "of": job["judging"],
            "basis": job["basis"],
            **verdict,
        }

    def _run(self, mutant: Mutant, tests: Sequence[str], job: dict[str, Any], base: str) -> Answer:
        ran = 0
        until = time.monotonic() + float(job["budget"])
        while ran < len(tests):
            left = until - time.monotonic()
            if left <= 0:
                break
            answer = self._try(mutant, tests[ran:], job["seconds"], left)
            if answer["verdict"] == "stillborn":
                raise Stillborn(answer["how"])
            ran += int(answer.get("ran", 0))
            if answer["verdict"] == "passed":
                break
            answer = self._confirmed(mutant, answer, job, base)
            if answer["verdict"] != "doubtful":
                return {**answer, "ran": ran}
        return {"verdict": "alive", "ran": ran}

    def _confirmed(self, mutant: Mutant, answer: Answer, job: dict[str, Any], base: str) -> Answer:
        """What failed once must fail again; what fails now and then, on the mutant only."""
        by = answer.get("by", "")
        if not by:
            # The process ended or stood still in no test: that is no test's merit.
            return {"verdict": "unjudged", "how": f"{answer['verdict']} {answer.get('how', '')}"}
        kill = {
            "verdict": "killed",
            "by": by,
            "how": answer["how"],
            "timeout": answer["verdict"] == "timeout",
        }
        again = self._again(mutant, by, job)
        if again["verdict"] != "passed":
            slow = "timeout" in (answer["verdict"], again["verdict"])
            sound = self._passes_unchanged(by, job, base, anew=slow)
            return kill if sound else {"verdict": "doubtful"}
        runs = [self._again(mutant, by, job) for _ in range(DOUBTFUL_RUNS)]
        fails = any(one["verdict"] != "passed" for one in runs)
        if fails and all(
            self._passes_unchanged(by, job, base, anew=True) for _ in range(DOUBTFUL_RUNS)
        ):
            return {**kill, "sometimes": True}
        return {"verdict": "doubtful"}

    def _passes_unchanged(self, by: str, job: dict[str, Any], base: str, *, anew: bool) -> bool:
        """Whether the code as it is passes that test, here and today."""
        if anew or by not in self._sound:
            changed, self._template = self._template, base
            self._sound.discard(by)
            if self._again(None, by, job)["verdict"] == "passed":
                self._sound.add(by)
            self._template = changed
        return by in self._sound

    def _again(self, mutant: Mutant | None, by: str, job: dict[str, Any]) -> Answer:
        return self._try(mutant, [by], job["seconds"], 120.0)

    def _try(
        self, mutant: Mutant | None, tests: Sequence[str], seconds: dict[str, float], left: float
    ) -> Answer:
        items = [self._items[name] for name in tests]
        return in_child(lambda: _child(mutant, items, seconds, left), left + 60.0)

    # --- databases ----------------------------------------------------------------------------------

    def _changed_template(self, mutant: Mutant, base: str) -> str:
        if not mutant.is_sql:
            return base
        assert self._server is not None
        name = base + "_changed"
        self._server.run(f"CREATE DATABASE {name} TEMPLATE {base} STRATEGY FILE_COPY")
        sql = sql_of(mutant, RolePrefix(self._server.role_prefix))
        try:
            self._server.run(sql, database=name)
        except asyncpg.PostgresError as error:
            raise Stillborn(str(error)) from error
        self._server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return name

    def _clear(self, base: str) -> None:
        """Databases of tests that were cut off, and the changed template."""
        server = self._server
        assert server is not None
        left = in_thread(lambda: asyncio.run(_others(server, base)))
        server.run(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in left))


@contextmanager
def _lent(server: TestServer) -> Iterator[TestServer]:
    yield server


async def _others(server: TestServer, base: str) -> list[str]:
    conn = await asyncpg.connect(server.admin.dsn())
    try:
        rows = await conn.fetch(
            "SELECT datname FROM pg_database WHERE datname LIKE 'ledger\\_test\\_%' AND datname <> $1",
            base,
        )
        return [row["datname"] for row in rows]
    finally:
        await conn.close()


def _mutant(job: dict[str, Any]) -> Mutant:
    edits = tuple(Edit(*edit) for edit in job["edits"])
    return Mutant(job["name"], job["file"], edits, job["why"], job["named"])


# --- in the child -------------------------------------------------------------------------------------


class _First:
    """Ends the child's run at the first test that fails."""

    def __init__(self) -> None:
        self.failed: Answer | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            how = report.longreprtext.strip().splitlines()[-1:] or [""]
            self.failed = {"verdict": "failed", "by": report.nodeid, "how": how[0][:300]}


def _child(
    mutant: Mutant | None, items: Sequence[pytest.Item], seconds: dict[str, float], left: float
) -> Answer:
    if mutant is not None and not mutant.is_sql:
        try:
            put_in_place(mutant)
        except Stillborn as reason:
            return {"verdict": "stillborn", "how": str(reason)}
    until = time.monotonic() + left
    first = _First()
    items[0].config.pluginmanager.register(first, "proof-first")
    for place, item in enumerate(items):
        if time.monotonic() > until:
            return {"verdict": "passed", "ran": place}
        following = items[place + 1] if place + 1 < len(items) else None
        with _limited(item, place, max(TEST_S, SLOWER * seconds.get(item.nodeid, 0.0))):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if first.failed is not None:
            return {**first.failed, "ran": place + 1}
    return {"verdict": "passed", "ran": len(items)}


@contextmanager
def _limited(item: pytest.Item, place: int, within_s: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        how = f"not over after {within_s:.0f} s"
        forking.tell(
            forking.WRITER[0],
            {"verdict": "timeout", "by": item.nodeid, "how": how, "ran": place + 1},
        )

    handler: Callable[[int, FrameType | None], Any] = stop
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, within_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("mutation")
    config.pluginmanager.register(Killer(), "proof-killer")
