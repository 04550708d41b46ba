"""Records histories: real sessions in threads, each with a connection of its own, calling what bots and workers call.

READ COMMITTED, one statement a call, as they come. Accounts and markets are new for every history, so that many follow
each other in one database. The clock of a history is one monotonic one for all sessions of the process.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import asyncpg

from app.clock import SystemClock
from proof.isolation.chance import Chance
from proof.isolation.operations import SHARE, Beginning, History, Operation, Terms
from proof.isolation.script import Script, Step
from tests.support.life import Life, incarnation, market_row, venue_id

T = TypeVar("T")

CLOCK = SystemClock()
SESSIONS = 4
STEPS = (6, 10, 14, 18)
"""Of each session; one of them by the seed."""
LABELS = ("Up", "Down")

_TOTALS = """
SELECT e.slug, e.outcome, e.effective_micros, e.sellable_micros, e.open_orders, b.available_micros
FROM audit.exposure e JOIN audit.balances b ON b.account = e.account AND b.asset = 'collateral'
WHERE e.account = $1
"""


class Line:
    """A thread with an event loop and one connection, kept over many histories."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self.conn: asyncpg.Connection = self.run(lambda: asyncpg.connect(url)).result()

    def run(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        async def whole() -> T:
            return await work()

        return self._thread.submit(lambda: self._runner.run(whole()))

    def close(self) -> None:
        self.run(self.conn.close).result()
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


class Recorder:
    """Records histories in one database, given by its owner's address. To be closed."""

    def __init__(self, url: str, sessions: int = SESSIONS) -> None:
        with ExitStack() as opened:
            self._lines = []
            for _ in range(sessions):
                self._lines.append(Line(url))
                opened.callback(self._lines[-1].close)
            self._kept = opened.pop_all()

    def __enter__(self) -> Recorder:
        self._lines[0].run(lambda: _unlimited(self._lines[0].conn)).result()
        return self

    def __exit__(self, *failure: object) -> None:
        self._kept.close()

    def record(self, seed: int) -> History:
        """One history, complete: nobody is left in the middle of a call."""
        steps = STEPS[seed % len(STEPS)]
        first = self._lines[0]
        beginnings = first.run(lambda: _begin(first.conn, seed)).result()
        history = History(seed, beginnings)
        script = Script(seed, beginnings)
        barrier = threading.Barrier(len(self._lines))
        sessions = [_Session(n, script, line.conn) for n, line in enumerate(self._lines)]
        running = [
            line.run(partial(one.work, steps, barrier))
            for one, line in zip(sessions, self._lines, strict=True)
        ]
        for one in running:
            history.operations += one.result()
        history.operations += first.run(lambda: sessions[0].look(sorted(beginnings))).result()
        history.operations.sort(key=lambda one: one.begin)
        return history


async def _unlimited(conn: asyncpg.Connection) -> None:
    """No limits but those that a history sets."""
    for name in ("max_outcome_micros", "max_market_micros", "burst_per_minute"):
        await conn.execute("SELECT ledger.set_limit(NULL, NULL, $1, NULL, 'campaign')", name)
    await conn.execute("SELECT ledger.set_limit(NULL, NULL, 'burst_gap_ms', '0', 'campaign')")


async def _begin(conn: asyncpg.Connection, seed: int) -> dict[str, Beginning]:
    rng = Chance(f"{seed} begin")
    markets = [f"h{seed}-m{n}" for n in range(2)]
    accounts = [f"h{seed}-{name}" for name in ("a", "b")]
    rows = json.dumps([market_row(one) for one in markets])
    await conn.execute("SELECT ledger.import_markets($1)", rows)
    return {one: await _account(conn, rng, one, markets) for one in accounts}


async def _account(
    conn: asyncpg.Connection, rng: Chance, account: str, markets: list[str]
) -> Beginning:
    """An account with collateral, tokens, one live order in each market, and caps."""
    # the clock is the database's own; nothing in here moves one
    life = Life(conn, None, account, markets[0], incarnation(rng.randrange(1, 2**60)))  # type: ignore[arg-type]
    collateral = rng.randrange(20, 60) * SHARE
    await life.open_account(account, collateral)
    tokens: dict[tuple[str, int], int] = {}
    live: dict[int, Terms] = {}
    for market in markets:
        life.market = market
        tokens[market, 0], tokens[market, 1] = 0, 10 * SHARE
        await life.add_tokens(1, 10 * SHARE, f"tokens of {account}")
        side, price, outcome = rng.choice((("BUY", 400_000, 0), ("SELL", 600_000, 1)))
        size = rng.randrange(5, 9) * SHARE
        terms = Terms(account, market, outcome, side, price, size)
        request = {"side": side, "price_micros": price, "outcome": LABELS[outcome]}
        order_id = await life.live(
            size_micros=size, key=f"live {market}", valid_for_ms=3_600_000, **request
        )
        live[order_id] = terms
    limits: dict[tuple[str, str], int] = {}
    for market in markets:
        limits["max_outcome_micros", market] = rng.choice((20, 30, 50)) * SHARE
        limits["max_market_micros", market] = rng.choice((40, 60)) * SHARE
        limits["max_open_orders", market] = rng.choice((4, 8))
    limits["max_shares_micros", account] = rng.choice((60, 90)) * SHARE
    for (name, scope), value in limits.items():
        await _set_limit(conn, account, name, scope, value)
    return Beginning(account, collateral, tokens, live, limits)


async def _set_limit(
    conn: asyncpg.Connection, account: str, name: str, scope: str, value: int
) -> None:
    if scope == account:
        query = "SELECT ledger.set_total_limit('account', $1, $2, $3, 'campaign')"
        await conn.execute(query, account, name, str(value))
    else:
        query = "SELECT ledger.set_limit($1, $2, $3, $4, 'campaign')"
        await conn.execute(query, account, scope, name, str(value))


class _Session:
    """One session on its line."""

    def __init__(self, number: int, script: Script, conn: asyncpg.Connection) -> None:
        self.number, self.script, self.conn = number, script, conn
        self.versions: dict[str, int] = {}

    async def look(self, accounts: list[str]) -> list[Operation]:
        """The totals when all is over, and no step of its own."""
        return [await self._one(self.conn, self.script.totals(one)) for one in accounts]

    async def work(self, steps: int, barrier: threading.Barrier) -> list[Operation]:
        done: list[Operation] = []
        barrier.wait()
        for _ in range(steps):
            step = self.script.next(self.number)
            done.append(await self._one(self.conn, step))
            if step.kind == "halt":
                # what is halted for good shows nothing more
                under = [*self.script.under(self.number, step), self._end_of(step)]
                done += [await self._one(self.conn, after) for after in under]
        return done

    def _end_of(self, halt: Step) -> Step:
        return Step("resume", halt.account, halt.arguments | {"value": None})

    async def _one(self, conn: asyncpg.Connection, step: Step) -> Operation:
        begin = CLOCK.monotonic_ns()
        try:
            answer = await getattr(self, "_" + step.kind)(conn, step)
        except asyncpg.PostgresError as error:
            answer = {"status": "error", "sqlstate": error.sqlstate, "text": str(error)[:200]}
        end = CLOCK.monotonic_ns()
        if step.kind == "reserve" and answer["status"] == "admitted" and not answer.get("replay"):
            self.script.admitted(step.account, answer["order_id"])
        return Operation(self.number, step.kind, step.account, step.arguments, begin, end, answer)

    async def _item(self, conn: asyncpg.Connection, function: str, item: dict[str, Any]) -> Any:
        answer = await conn.fetchval(f"SELECT ledger.{function}($1)", json.dumps([item]))
        return json.loads(answer)[0]

    async def _reserve(self, conn: asyncpg.Connection, step: Step) -> Any:
        terms: Terms = step.arguments["terms"]
        request = {
            "account": terms.account,
            "market": terms.market,
            "outcome": LABELS[terms.outcome],
            "side": terms.side,
            "price_micros": terms.price,
            "size_micros": terms.size,
            "key": step.arguments["key"],
            "valid_for_ms": 3_600_000,
        }
        return await self._item(conn, "reserve_pending", request)

    async def _cancel(self, conn: asyncpg.Connection, step: Step) -> Any:
        item = {"order_id": step.arguments["order"], "reason": "campaign"}
        return await self._item(conn, "request_cancel", item)

    async def _fill(self, conn: asyncpg.Connection, step: Step) -> Any:
        given = step.arguments
        item = {
            "account": step.account,
            "trade_id": given["trade"],
            "venue_order_id": venue_id(given["order"]),
            "size_micros": given["size"],
            "price_micros": given["price"],
            "fee_micros": 0,
            "status": given["status"],
            "raw_status": given["status"],
            "is_maker": True,
            "matched_at_ms": 1_770_000_000_000,
        }
        return await self._item(conn, "record_fills", item)

    async def _end(self, conn: asyncpg.Connection, step: Step) -> Any:
        item = {
            "account": step.account,
            "venue_order_id": venue_id(step.arguments["order"]),
            "status": "CANCELLED",
            "raw_status": "CANCELLED",
            "size_matched_micros": step.arguments["matched"],
            "source": "read",
        }
        return await self._item(conn, "observe_orders", item)

    async def _totals(self, conn: asyncpg.Connection, step: Step) -> Any:
        shown: dict[str, Any] = {}
        for row in await conn.fetch(_TOTALS, step.account):
            shown["available"] = row["available_micros"]
            shown[f"{row['slug']} open"] = row["open_orders"]
            shown[f"{row['slug']} {row['outcome']} effective"] = row["effective_micros"]
            shown[f"{row['slug']} {row['outcome']} sellable"] = row["sellable_micros"]
        return shown

    def _scope(self, step: Step) -> tuple[str, str]:
        scope = step.arguments["scope"]
        return ("account" if scope == step.account else "market"), scope

    async def _halt(self, conn: asyncpg.Connection, step: Step) -> Any:
        query = "SELECT ledger.set_halt($1, $2, 'campaign', 'campaign')"
        version = await conn.fetchval(query, *self._scope(step))
        self.versions[step.arguments["scope"]] = version
        return {"status": "ok", "version": version}

    async def _resume(self, conn: asyncpg.Connection, step: Step) -> Any:
        version = self.versions.pop(step.arguments["scope"])
        query = "SELECT ledger.clear_halt($1, $2, $3, 'campaign', 'campaign')"
        return {"status": "ok", "cleared": await conn.fetchval(query, *self._scope(step), version)}

    async def _limit(self, conn: asyncpg.Connection, step: Step) -> Any:
        given = step.arguments
        await _set_limit(conn, step.account, given["name"], given["scope"], given["value"])
        return {"status": "ok"}
