"""Workers as tests need them: real processes to kill and pause, or a worker inside the test.

Everything a test waits for is a condition on the database, with a deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from app.clock import Ports
from app.config import Settings
from app.venue.interface import Side
from app.venue.matching import Level
from app.venue.paper import PaperVenue, order_hasher
from app.venue.paper.faults import Fault
from tests.support.database import TestDatabase
from tests.support.forking import Child, starter
from tests.support.life import SHARE, call, market_row, token
from workers.worker import main, points
from workers.worker.context import Context
from workers.worker.paper_host import paper_key
from workers.worker.sending import _sign

ROOT: Final = Path(__file__).resolve().parents[2]
SETTINGS: Final = {
    "claim_lease_ms": 1_000,
    "quarantine_ms": 1_000,
    "paper_settle_ms": 200,
    "request_timeout_ms": 500,
    "poll_ms": 50,
    "log_format": "json",
}
"""Times short enough for tests; everything else as delivered."""

UNRESOLVED: Final = ("RESERVED", "PREPARED", "SENDING", "HELD_BACK", "UNKNOWN", "DELAYED")

STATE: Final = {
    "orders": "*",
    "reservation": "*",
    "fill": "*",
    "attempt": "*",
    "signed_order": "*",
    "balance": "*",
    "balance_entry": "*",
    "idempotency_key": "*",
    "dead_letter": "*",
    "foreign_order": "*",
    "halt": "*",
    "cancel_request": "account_id, order_id, status, tries, last_answer",
    "outbox": "account_id, order_id, status, claimed_by, claim_no, failures",
    "exposure": "account_id, market_id, pending_buy, open_buy, awaiting_buy, provisional_buy, "
    "pending_sell, open_sell, awaiting_sell, provisional_sell, confirmed, suspended_until",
}
"""What a start without anything to do must leave as it is."""


def stopped(pid: int) -> bool:
    """Whether a process stands still after a SIGSTOP."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return stat.read_text().rpartition(")")[2].split()[0] in "Tt"
    asked = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout[:1] == "T"


@dataclass
class WorkerProcess:
    """One worker in a process of its own."""

    process: Child
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ended(self, within_s: float = 60.0) -> int:
        """Its exit code; negative after a signal."""
        waiting = asyncio.get_running_loop().run_in_executor(
            None, lambda: self.process.wait(timeout=within_s)
        )
        try:
            return await waiting
        except subprocess.TimeoutExpired:
            raise AssertionError(f"worker {self.pid} still runs:\n{self.said()}") from None

    async def died(self, within_s: float = 60.0) -> None:
        """It reached its point and was killed there."""
        code = await self.ended(within_s)
        assert code == -signal.SIGKILL, f"exit code {code}:\n{self.said()}"

    async def stop(self) -> None:
        """SIGTERM, and a graceful end, however far it had got."""
        await until(self.hears, f"worker {self.pid} hears SIGTERM")
        self.process.send_signal(signal.SIGTERM)
        code = await self.ended()
        assert code == 0, f"exit code {code}:\n{self.said()}"

    def hears(self) -> bool:
        """Whether the product has begun: before, there is only an interpreter, which dies of a SIGTERM."""
        status = Path(f"/proc/{self.pid}/status")
        if self.process.poll() is not None or not Path("/proc/self/status").exists():
            return self.process.poll() is not None or "STARTED" in self.log.read_text()
        [caught] = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    async def kill(self) -> None:
        self.process.kill()
        await self.ended()

    async def paused(self, within_s: float = 60.0) -> None:
        """It stands still at its point."""

        def look() -> bool:
            assert self.process.poll() is None, f"it ended:\n{self.said()}"
            return stopped(self.pid)

        await until(look, f"worker {self.pid} is paused", within_s=within_s)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def until(
    condition: Callable[[], Any], what: str | Callable[[], str], *, within_s: float = 60.0
) -> Any:
    """The first true answer of ``condition`` (plain or async); fails, naming ``what``, if none comes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    never = asyncio.Event()
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if loop.time() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {within_s} s in vain until {said}")
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), 0.02)


@dataclass
class Rig:
    """A migrated database with accounts and markets, workers on it, and the venue behind it."""

    database: TestDatabase
    owner: asyncpg.Pool
    venue: PaperVenue
    folder: Path
    _workers: list[WorkerProcess] = field(default_factory=list)
    _keys: int = 0

    # --- setting up -----------------------------------------------------------------------------

    async def account(self, name: str = "main", collateral: int = 1_000 * SHARE) -> None:
        await call(self.owner, "open_paper_account", name, collateral, SETTINGS["quarantine_ms"])

    async def markets(self, *slugs: str, **changes: Any) -> None:
        await call(self.owner, "import_markets", [market_row(slug, **changes) for slug in slugs])

    async def limit(self, name: str, value: int | None) -> None:
        text = None if value is None else str(value)
        await call(self.owner, "set_limit", None, None, name, text, "test")

    async def no_burst_limits(self) -> None:
        await self.limit("burst_per_minute", None)
        await self.limit("burst_gap_ms", 0)

    def request(self, market: str = "m1", cents: int = 5, shares: int = 5, **more: Any) -> Any:
        """A BUY that rests: no book of the paper venue comes down to five cents."""
        self._keys += 1
        return {
            "account": "main",
            "market": market,
            "outcome": "Up",
            "side": "BUY",
            "price_micros": cents * 10_000,
            "size_micros": shares * SHARE,
            "key": f"key {self._keys}",
        } | more

    async def ask(self, *requests: Any) -> list[Any]:
        """Reserve; the answers, refusals too."""
        return list(await call(self.owner, "reserve_pending", list(requests)))

    async def reserve(
        self, market: str = "m1", cents: int = 5, shares: int = 5, **more: Any
    ) -> int:
        [answer] = await self.ask(self.request(market, cents, shares, **more))
        assert answer["status"] == "admitted", answer
        return int(answer["order_id"])

    async def cancel(self, *order_ids: int) -> None:
        items = [{"order_id": one, "reason": "test"} for one in order_ids]
        await call(self.owner, "request_cancel", items)

    async def venue_id(self, order_id: int) -> str:
        """The id the order will have at the venue, also before it is signed: it follows from the intent."""
        row = await self.owner.fetchrow(
            "SELECT a.name, ledger._work(a.name, o, 0) AS work FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) WHERE o.order_id = $1",
            order_id,
        )
        return _sign(paper_key(row["name"]), json.loads(row["work"])).venue_order_id

    async def fault(self, op: str, kind: str, order_id: int | None = None, **more: Any) -> None:
        """Misbehaviour of the venue (see `app.venue.paper.faults`), for one order or for all."""
        how = {name: more.pop(name) for name in ("skip", "times", "account") if name in more}
        venue_id = None if order_id is None else await self.venue_id(order_id)
        await self.venue.faults.inject(
            op, kind, venue_order_id=venue_id, fault=Fault(kind, **more), **how
        )

    async def fill_at_venue(self, market: str, *, cents: int, outcome: int = 0) -> None:
        """Somebody offers so cheaply that our resting orders of a token fill, while nobody looks."""
        one = token(market, outcome)
        offer = Level(Side.SELL, cents * 10_000, 1_000 * SHARE, 1_000 * SHARE)
        assert await self.venue.load_books({one: (offer,)}) == []

        async def filled() -> bool:
            await self.venue.step()
            found = await self.owner.fetchval(
                "SELECT bool_and(status = 'MATCHED') FROM paper.venue_order WHERE token_id = $1",
                one,
            )
            return bool(found)

        await until(filled, f"the orders of {market} are filled at the venue")

    # --- workers --------------------------------------------------------------------------------

    def start(
        self,
        *,
        stop_at: str = "",
        pause_at: str = "",
        die_after_step: int = 0,
        url: str | None = None,
        **settings: Any,
    ) -> WorkerProcess:
        """Start a worker process; ``settings`` as in `Settings`, over those for tests."""
        chosen = {"account": "main"} | SETTINGS | settings
        given = {f"LEDGER_{name.upper()}": str(value) for name, value in chosen.items()}
        given["LEDGER_DATABASE_URL"] = url or self.database.url_for("worker")
        if stop_at:
            given["LEDGER_TEST_STOP_AT"] = stop_at
        if pause_at:
            given["TEST_PAUSE_AT"] = pause_at
        if die_after_step:
            given["TEST_DIE_AFTER_STEP"] = str(die_after_step)
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")
        }
        log = self.folder / f"worker-{len(self._workers)}.log"
        process = starter().start("worker", (), env=kept | given, cwd=self.folder, log=log)
        worker = WorkerProcess(process, log)
        self._workers.append(worker)
        return worker

    async def started(self, **settings: Any) -> WorkerProcess:
        """A worker process that is ready to place."""
        before = await self.incarnations()
        worker = self.start(**settings)
        await self.ready(before, worker)
        return worker

    async def incarnations(self) -> set[Any]:
        return {row["incarnation"] for row in await self.owner.fetch("SELECT * FROM ledger.worker")}

    async def ready(self, before: set[Any], worker: WorkerProcess | None = None) -> Any:
        """The incarnation of a worker that started after ``before`` was read, once it is ready."""
        return await self.until(
            "SELECT incarnation FROM ledger.worker WHERE ready AND incarnation <> ALL ($1)",
            list(before),
            tell=worker.said if worker else None,
        )

    def end(self) -> None:
        for worker in self._workers:
            worker.end()

    @asynccontextmanager
    async def inside(
        self,
        *,
        ports: Ports | None = None,
        reached: points.Reached = points.nothing,
        **settings: Any,
    ) -> AsyncIterator[Context]:
        """A worker within the test: its own connections and tasks, no process. Stops gracefully."""
        options: dict[str, Any] = {"account": "main", **SETTINGS, **settings}
        options.setdefault("database_url", self.database.url_for("worker"))
        chosen = Settings(**options)
        assert chosen.database_url is not None
        url = chosen.database_url.get_secret_value()
        opened = main.open_context(chosen, ports or Ports.system(), url, reached=reached)
        async with opened as context:
            serving = asyncio.ensure_future(main.serve(context, url))
            try:
                yield context
            finally:
                context.shared.stopping.set()
                await serving

    # --- looking --------------------------------------------------------------------------------

    async def until(
        self,
        query: str,
        *arguments: Any,
        within_s: float = 60.0,
        tell: Callable[[], str] | None = None,
    ) -> Any:
        """Wait until a query's first value is true."""

        def what() -> str:
            return f"{query} {arguments}\n{tell() if tell else ''}"

        return await until(lambda: self.owner.fetchval(query, *arguments), what, within_s=within_s)

    async def until_state(self, order_id: int, *states: str, within_s: float = 60.0) -> str:
        """Wait until an order is in one of the states; says what stood in the way."""
        try:
            return str(
                await self.until(
                    "SELECT state FROM ledger.orders WHERE order_id = $1 AND state = ANY ($2)",
                    order_id,
                    list(states),
                    within_s=within_s,
                )
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.timeline(order_id)}") from None

    async def until_resolved(self, within_s: float = 30.0) -> None:
        """Nothing is on its way: no fate open, no cancel due, nothing unbooked."""
        try:
            await self.until(
                "SELECT NOT EXISTS (SELECT FROM ledger.orders WHERE state = ANY ($1))"
                " AND NOT EXISTS (SELECT FROM ledger.cancel_request WHERE status = 'due')"
                " AND NOT EXISTS (SELECT FROM ledger.reservation WHERE phase = 'settling')"
                " AND NOT EXISTS (SELECT FROM ledger.fill WHERE settlement = 'provisional')"
                " AND NOT EXISTS (SELECT FROM ledger.venue_event WHERE applied_at IS NULL)"
                " AND NOT EXISTS (SELECT FROM ledger.attempt WHERE outcome = 'open')"
                " AND NOT EXISTS (SELECT FROM paper.arrival)"
                " AND NOT EXISTS (SELECT FROM paper.venue_order v JOIN ledger.orders o USING (venue_order_id)"
                "  WHERE v.matched_micros > greatest(o.traded_micros, o.size_matched_micros))",
                list(UNRESOLVED),
                within_s=within_s,
            )
        except AssertionError as error:
            rows = await self.owner.fetch(
                "SELECT order_id, account, slug, state, cause, cancel_asked_at, phase FROM audit.orders "
                "WHERE state = ANY ($1) OR phase = 'settling' OR cancel_asked_at IS NOT NULL AND NOT ended",
                list(UNRESOLVED),
            )
            timelines = [await self.timeline(row["order_id"]) for row in rows[:3]]
            raise AssertionError("\n".join([str(error), *map(str, rows), *timelines])) from None

    async def until_stream_is_read(self) -> None:
        """All events of the venue were stored: the lease of a dead reader has lapsed, a new one is done."""
        await self.until(
            "SELECT NOT EXISTS (SELECT FROM ledger.account a WHERE "
            "(SELECT max(e.seq) FROM paper.event e WHERE e.account = a.name) > "
            "coalesce((SELECT c.position FROM ledger.cursor c WHERE c.account_id = a.account_id "
            "AND c.name = 'stream'), 0))"
        )

    async def timeline(self, order_id: int) -> str:
        rows = await self.owner.fetch(
            "SELECT at, source, event, attempt, from_state, to_state, left(detail::text, 200) AS detail "
            "FROM audit.order_timeline WHERE order_id = $1 ORDER BY at, seq",
            order_id,
        )
        return "\n".join(str(tuple(row.values())) for row in rows)

    async def order(self, order_id: int) -> asyncpg.Record:
        return await self.owner.fetchrow(
            "SELECT * FROM ledger.orders WHERE order_id = $1", order_id
        )

    async def state(self) -> dict[str, list[str]]:
        """Every row that trading writes, as text (see `STATE`)."""
        return {
            table: sorted(
                row[0]
                for row in await self.owner.fetch(
                    f"SELECT row_to_json(q)::text FROM (SELECT {columns} FROM ledger.{table}) q"
                )
            )
            for table, columns in STATE.items()
        }

    async def at_venue(self, order_id: int) -> list[asyncpg.Record]:
        """What the venue's own book holds of an intent, by what was carried over from it."""
        return list(
            await self.owner.fetch(
                "SELECT v.* FROM paper.venue_order v JOIN ledger.account a ON a.name = v.account "
                "JOIN ledger.orders o ON o.account_id = a.account_id AND o.salt::text = v.salt "
                "WHERE o.order_id = $1 AND v.status <> 'INVALID'",
                order_id,
            )
        )

    async def check_sound(self) -> None:
        """The audit's own checks, and sums made here: nothing lost, doubled or held without reason."""
        wrong = await self.owner.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
        assert wrong == [], "\n".join(map(str, wrong))
        doubled = await self.owner.fetch(
            "SELECT account, salt, count(*) FROM paper.venue_order WHERE status <> 'INVALID' "
            "GROUP BY 1, 2 HAVING count(*) > 1"
        )
        assert doubled == []
        strangers = await self.owner.fetch(
            "SELECT v.venue_order_id FROM paper.venue_order v WHERE NOT EXISTS (SELECT FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) WHERE a.name = v.account "
            "AND o.venue_order_id = v.venue_order_id AND o.size_micros = v.size_micros "
            "AND o.price_micros = v.price_micros AND o.token_id = v.token_id)"
        )
        assert strangers == [], "an order at the venue that no intent explains"
        unlike = await self.owner.fetch(
            "SELECT o.order_id, o.state, v.status, o.traded_micros, v.matched_micros FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) LEFT JOIN paper.venue_order v "
            "ON v.account = a.name AND v.venue_order_id = o.venue_order_id "
            "WHERE o.state NOT IN ('RESERVED', 'PREPARED', 'HELD_BACK', 'SENDING', 'UNKNOWN') AND ("
            "coalesce(v.matched_micros, 0) <> greatest(o.traded_micros, o.size_matched_micros) "
            "OR (v.status = 'LIVE') IS DISTINCT FROM nullif(o.state = 'LIVE', false) "
            "AND (coalesce(v.status, '') = 'LIVE' OR o.state = 'LIVE'))"
        )
        assert unlike == [], "\n".join(map(str, unlike))
        # evidence may be faster than the answer, which is recorded, or judged lapsed, soon after
        await self.until(
            "SELECT NOT EXISTS (SELECT FROM ledger.attempt WHERE outcome = 'open')", within_s=5
        )
        money = await self.owner.fetch(
            "SELECT a.name, b.available + b.locked AS total, b.locked,"
            " (SELECT coalesce(sum(e.available_delta), 0) FROM ledger.balance_entry e WHERE"
            "  e.account_id = a.account_id AND e.asset = 'collateral' AND e.order_id IS NULL)"
            " - (SELECT coalesce(sum(f.cash_micros + f.fee_micros), 0) FROM ledger.fill f"
            "    WHERE f.account_id = a.account_id AND f.side = 'BUY' AND f.settlement <> 'failed') AS due,"
            " (SELECT coalesce(sum(r.held_micros), 0) FROM ledger.reservation r"
            "  WHERE r.account_id = a.account_id AND r.asset = 'collateral') AS held "
            "FROM ledger.account a JOIN ledger.balance b USING (account_id) WHERE b.asset = 'collateral' "
            "AND NOT EXISTS (SELECT FROM ledger.orders o WHERE o.account_id = a.account_id AND o.side = 'SELL')"
        )
        for row in money:
            assert (row["total"], row["locked"]) == (row["due"], row["held"]), row


@asynccontextmanager
async def open_rig(database: TestDatabase, folder: Path) -> AsyncIterator[Rig]:
    """A rig on a test's database; ends what it started."""
    owner = await asyncpg.create_pool(database.url, min_size=1, max_size=8)
    venue = PaperVenue(owner, Ports.system(), seed=1, hash_body=order_hasher(()))
    rig = Rig(database, owner, venue, folder)
    try:
        yield rig
    finally:
        rig.end()
        owner.terminate()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture(name="rig")
async def rig_fixture(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Rig]:
    """Account ``main`` with 1,000 of collateral, markets m1 to m4, no burst limits."""
    async with open_rig(database, tmp_path) as rig:
        await rig.account()
        await rig.markets("m1", "m2", "m3", "m4")
        await rig.no_burst_limits()
        yield rig
