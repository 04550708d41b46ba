"""Drives orders of one account through their lives by the SQL functions alone.

For tests of the ledger that want an order in a certain state without a worker, a venue or a
gateway. Everything goes through public functions of the schema `ledger`; nothing is written to a
table, but for limits, which are opened so that a test meets only the limit it is about.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
import pytest

import app
from tests.support.clock import SettableClock
from tests.support.database import TestDatabase, empty_database
from tests.support.servers import TestServer

Item: TypeAlias = dict[str, Any]

SHARE: Final = 1_000_000
LEASE_MS: Final = 10_000
QUARANTINE_MS: Final = 120_000
REQUEST_TIMEOUT_MS: Final = 10_000
SEND_BY_MS: Final = 2_000


def incarnation(n: int) -> uuid.UUID:
    """The n-th start of a worker."""
    return uuid.UUID(int=n)


FIRST: Final = incarnation(1)


def venue_id(order_id: int) -> str:
    """The venue's id of an order: a hash, as there."""
    return "0x" + hashlib.sha256(b"order %d" % order_id).hexdigest()


def token(market: str, outcome: int) -> str:
    """A token id as long as real ones are."""
    digest = hashlib.sha256(f"{market}/{outcome}".encode()).hexdigest()
    return str(int(digest, 16) % 10**76 + 10**75)


def market_row(slug: str, **changes: Any) -> Item:
    """A row for `ledger.import_markets`: tick 0.01, minimum 5 shares, no fee."""
    return {
        "condition_id": "0x" + hashlib.sha256(slug.encode()).hexdigest(),
        "slug": slug,
        "tick_micros": 10_000,
        "min_size_micros": 5 * SHARE,
        "fee_rate_micros": 0,
        "fee_exponent": 1,
        "fee_taker_only": True,
        "tradable": True,
        "untradable_reasons": [],
        "outcomes": [
            {"index": index, "label": label, "token_id": token(slug, index)}
            for index, label in enumerate(("Up", "Down"))
        ],
    } | changes


async def call(conn: asyncpg.Connection, function: str, *arguments: Any) -> Any:
    """One SQL function. Dicts and lists travel as JSON, tuples as arrays; JSON comes back decoded."""
    given = [
        json.dumps(a) if isinstance(a, (list, Mapping)) else list(a) if isinstance(a, tuple) else a
        for a in arguments
    ]
    places = ", ".join(f"${n + 1}" for n in range(len(given)))
    answer = await conn.fetchval(f"SELECT ledger.{function}({places})", *given)
    return json.loads(answer) if isinstance(answer, str) and answer[:1] in "[{" else answer


@dataclass
class Life:
    """One account, its markets and one worker, on one connection of the owner."""

    conn: asyncpg.Connection
    clock: SettableClock
    account: str = "main"
    market: str = "m1"
    worker: uuid.UUID = FIRST
    claims: dict[int, int] = field(default_factory=dict)
    _keys: int = 0
    _trades: int = 0

    @classmethod
    async def begin(
        cls, database: TestDatabase, *, collateral: int = 10_000 * SHARE, **market: Any
    ) -> Life:
        """A new account with collateral and a market, no caps, no burst limits, time standing."""
        conn = await database.connect()
        await empty_ledger(conn)
        life = cls(conn, await SettableClock.install(conn))
        for name in ("max_outcome_micros", "max_market_micros", "burst_per_minute", "burst_gap_ms"):
            await life.limit(name, None)
        await life.open_account(life.account, collateral)
        await life.add_market(life.market, **market)
        return life

    def on(self, conn: asyncpg.Connection, worker: uuid.UUID | None = None) -> Life:
        """The same account and market, over another session, by another start of a worker."""
        return Life(
            conn, self.clock, self.account, self.market, worker or self.worker, _keys=1_000_000
        )

    async def call(self, function: str, *arguments: Any) -> Any:
        return await call(self.conn, function, *arguments)

    async def item(self, function: str, **item: Any) -> Item:
        """A function that takes an array, with one item."""
        answers = await self.call(function, [item])
        assert len(answers) == 1
        return dict(answers[0])

    # ---- setting up

    async def open_account(self, name: str, collateral: int = 10_000 * SHARE) -> int:
        account_id = await self.conn.fetchval(
            "SELECT ledger.open_account($1, 'paper', p_quarantine_ms => $2)", name, QUARANTINE_MS
        )
        if collateral:
            await self.call(
                "book_movement", name, "collateral", collateral, "opening", f"opening {name}", ""
            )
        return int(account_id)

    async def add_market(self, slug: str, **changes: Any) -> None:
        await self.call("import_markets", [market_row(slug, **changes)])

    async def add_tokens(self, outcome: int, amount: int, key: str = "tokens") -> None:
        await self.call(
            "book_movement",
            self.account,
            token(self.market, outcome),
            amount,
            "opening",
            f"{key} {self.market} {outcome}",
            "",
        )

    async def limit(self, name: str, value: int | str | None) -> None:
        text = None if value is None else str(value)
        await self.call("set_limit", None, None, name, text, "test")

    # ---- the way of an order

    def request(self, **changes: Any) -> Item:
        """A request; without a key it gets a new one."""
        self._keys += 1
        return {
            "account": self.account,
            "market": self.market,
            "outcome": "Up",
            "side": "BUY",
            "price_micros": 400_000,
            "size_micros": 10 * SHARE,
            "key": f"key {self._keys}",
        } | changes

    async def reserve(self, **changes: Any) -> Item:
        return await self.item("reserve_pending", **self.request(**changes))

    async def reserved(self, **changes: Any) -> int:
        answer = await self.reserve(**changes)
        assert answer["status"] == "admitted", answer
        return int(answer["order_id"])

    async def claim(self, limit: int = 100, lease_ms: int = LEASE_MS) -> list[Item]:
        """Placements; the claim numbers are kept for the steps that need them."""
        work = await self.call("claim_placements", self.worker, (self.account,), lease_ms, limit)
        self.claims |= {item["order_id"]: item["claim_no"] for item in work}
        return list(work)

    async def claim_look_ups(self, lease_ms: int = LEASE_MS) -> list[Item]:
        work = await self.call("claim_look_ups", self.worker, (self.account,), lease_ms, 100)
        self.claims |= {item["order_id"]: item["claim_no"] for item in work}
        return list(work)

    def _claimed(self, order_id: int) -> Item:
        return {
            "order_id": order_id,
            "incarnation": str(self.worker),
            "claim_no": self.claims.get(order_id, 0),
        }

    async def prepare(self, order_id: int, body: bytes = b"bytes") -> Item:
        return await self.item(
            "prepare",
            **self._claimed(order_id),
            venue_order_id=venue_id(order_id),
            body=base64.b64encode(body).decode(),
            fields={},
        )

    async def open_attempt(self, order_id: int, owner: str = "owner") -> Item:
        return await self.item(
            "open_attempt",
            **self._claimed(order_id),
            owner=owner,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    async def complete(self, how: str, order_id: int, attempt: int = 1, **more: Any) -> Item:
        """``how``: acknowledge, acknowledge_delayed, reject, hold_back, mark_seen, mark_unknown."""
        return await self.item(
            how,
            **{
                "order_id": order_id,
                "attempt": attempt,
                "incarnation": str(self.worker),
                "code": how,
                "raw": "{}",
            }
            | more,
        )

    async def claimed(self, **changes: Any) -> int:
        order_id = await self.reserved(**changes)
        assert order_id in [work["order_id"] for work in await self.claim()], "not a lane's head"
        return order_id

    async def prepared(self, **changes: Any) -> int:
        order_id = await self.claimed(**changes)
        assert (await self.prepare(order_id))["state"] == "PREPARED"
        return order_id

    async def sending(self, owner: str = "owner", **changes: Any) -> int:
        order_id = await self.prepared(**changes)
        assert (await self.open_attempt(order_id, owner))["state"] == "SENDING"
        return order_id

    async def held_back(self, **changes: Any) -> int:
        order_id = await self.sending(**changes)
        assert (await self.complete("hold_back", order_id))["state"] == "HELD_BACK"
        return order_id

    async def unknown(self, **changes: Any) -> int:
        order_id = await self.sending(**changes)
        assert (await self.complete("mark_unknown", order_id))["state"] == "UNKNOWN"
        return order_id

    async def live(self, **changes: Any) -> int:
        order_id = await self.sending(**changes)
        assert (await self.complete("acknowledge", order_id))["state"] == "LIVE"
        return order_id

    async def cancelled(self, **changes: Any) -> int:
        order_id = await self.live(**changes)
        assert (await self.read(order_id, "CANCELLED"))["state"] == "CANCELLED"
        return order_id

    async def absent(self, **changes: Any) -> int:
        """An order proven absent; the clock stands after its quarantine then."""
        order_id = await self.unknown(valid_for_ms=1_000, **changes)
        await self.clock.advance(SEND_BY_MS + REQUEST_TIMEOUT_MS + QUARANTINE_MS + 1)
        await self.cancel(order_id)
        await self.cancel_answered(order_id)
        for kind in ("order_absent", "trades_absent"):
            await self.evidence(order_id, kind)
        assert (await self.prove_absent(order_id))["state"] == "NOT_PLACED"
        return order_id

    # ---- what happens at the venue

    async def observe(
        self, order_id: int, status: str, matched: int = 0, source: str = "read", **more: Any
    ) -> Item:
        return await self.item(
            "observe_orders",
            **{
                "account": self.account,
                "venue_order_id": venue_id(order_id),
                "status": status,
                "raw_status": status,
                "size_matched_micros": matched,
                "source": source,
            }
            | more,
        )

    async def read(self, order_id: int, status: str, matched: int = 0) -> Item:
        return await self.observe(order_id, status, matched, "read")

    async def stream(self, order_id: int, status: str, matched: int = 0) -> Item:
        return await self.observe(order_id, status, matched, "stream")

    async def fill(self, order_id: int, size: int, status: str = "MATCHED", **more: Any) -> Item:
        """Our part of a trade; without a ``trade_id`` a new one, at the price of `request`."""
        self._trades += 1
        return await self.item(
            "record_fills",
            **{
                "account": self.account,
                "trade_id": f"trade {self._trades}",
                "venue_order_id": venue_id(order_id),
                "size_micros": size,
                "price_micros": 400_000,
                "fee_micros": 0,
                "status": status,
                "raw_status": status,
                "is_maker": False,
                "matched_at_ms": 1_770_000_000_000,
            }
            | more,
        )

    async def cancel(self, order_id: int, **more: Any) -> Item:
        return await self.item("request_cancel", **{"order_id": order_id, "reason": "test"} | more)

    async def claim_cancels(self) -> list[int]:
        """The orders whose DELETE leaves now."""
        work = await self.call("claim_cancels", self.worker, (self.account,), 100)
        return [item["order_id"] for item in work]

    async def cancel_answered(self, order_id: int, answer: str = "refused", **more: Any) -> Item:
        return await self.item(
            "record_cancel_answers",
            **{"order_id": order_id, "incarnation": str(self.worker), "answer": answer, "raw": ""}
            | more,
        )

    async def evidence(self, order_id: int, kind: str, owner: str = "owner", **more: Any) -> Item:
        return await self.item(
            "record_evidence",
            **{"order_id": order_id, "kind": kind, "incarnation": str(self.worker), "owner": owner}
            | more,
        )

    async def prove_absent(self, order_id: int) -> Item:
        return await self.item("prove_absent", order_id=order_id)

    # ---- looking

    async def row(self, table: str, order_id: int) -> dict[str, Any]:
        """The row of an order in a table that has one per order."""
        found = await self.conn.fetchrow(
            f"SELECT * FROM ledger.{table} WHERE order_id = $1",
            order_id,
        )
        assert found is not None, f"no row of {table} for order {order_id}"
        return dict(found)

    async def state(self, order_id: int) -> str:
        return str((await self.row("orders", order_id))["state"])

    async def exposure(self, market: str | None = None) -> dict[str, Any]:
        found = await self.conn.fetchrow(
            "SELECT e.* FROM ledger.exposure e JOIN ledger.account a USING (account_id) "
            "JOIN ledger.market m USING (market_id) WHERE a.name = $1 AND m.slug = $2",
            self.account,
            market or self.market,
        )
        assert found is not None
        return dict(found)

    async def balance(self, asset: str = "collateral") -> tuple[int, int]:
        """Available and locked."""
        found = await self.conn.fetchrow(
            "SELECT b.available, b.locked FROM ledger.balance b JOIN ledger.account a "
            "USING (account_id) WHERE a.name = $1 AND b.asset = $2",
            self.account,
            asset,
        )
        return (found["available"], found["locked"]) if found else (0, 0)

    async def events(self, event: str) -> list[dict[str, Any]]:
        """Journal rows of that name, oldest first, of every account."""
        found = await self.conn.fetch(
            "SELECT * FROM ledger.journal WHERE event = $1 ORDER BY account_id, seq", event
        )
        return [dict(row) | {"detail": json.loads(row["detail"])} for row in found]

    async def halts(self) -> list[str]:
        """The kinds of standing halts: the word before the colon."""
        found = await self.conn.fetch(
            "SELECT why FROM ledger.halt WHERE cleared_at IS NULL ORDER BY halt_id"
        )
        return [row["why"].split(":")[0] for row in found]


# ---- one database for the tests of a module: cloning one takes longer than most of them

_KEPT: Final = ("transition", "order_state", "order_event", "setting", "limits")
_FIRST: Final = (
    *("signed_order", "attempt", "fill", "evidence", "replacement", "reservation"),
    *("withdrawal_evidence", "withdrawal_attempt", "withdrawal_transfer", "withdrawal"),
)
_LAST: Final = ("orders", "outcome", "market", "account_state", "balance", "account")
_GUARDED: Final = (
    *("journal", "balance_entry", "limit_change", "halt_change", "signed_order"),
    *("withdrawal", "withdrawal_transfer"),
)


def _default_limits() -> str:
    """The statements that a new ledger's limits come from."""
    file = Path(app.__file__).parent / "ledger/sql/functions/defaults.sql"
    return file.read_text("utf-8").split("INSERT INTO ledger.setting")[0].strip().removesuffix(";")


async def empty_ledger(conn: asyncpg.Connection) -> None:
    """Delete what tests wrote, append-only or not, and number from 1 again. For owners only."""
    async with conn.transaction():
        found = await conn.fetch(
            "SELECT c.relname, c.relkind FROM pg_class c WHERE c.relnamespace = 'ledger'::regnamespace "
            "AND c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition"
        )
        tables = [row["relname"] for row in found if row["relkind"] != b"S"]
        between = [t for t in tables if t not in _KEPT + _FIRST + _LAST]
        # A ledger of an earlier release has not all of them.
        first, last, guarded = (
            [t for t in some if t in tables] for some in (_FIRST, _LAST, _GUARDED)
        )
        steps = [f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER" for table in guarded]
        steps += [f"DELETE FROM ledger.{table}" for table in (*first, *between, *last)]
        steps += [f"ALTER TABLE ledger.{table} ENABLE TRIGGER USER" for table in guarded]
        if "total_limits" in tables:
            steps += [
                "DELETE FROM ledger.limits",
                "DELETE FROM ledger.total_limits",
                _default_limits(),
            ]
        steps += [
            f"ALTER SEQUENCE ledger.{row['relname']} RESTART"
            for row in found
            if row["relkind"] == b"S"
        ]
        await conn.execute("; ".join(steps))


@pytest.fixture(scope="module", name="module_database")
def _module_database(database_server: TestServer, template_database: str) -> Iterator[TestDatabase]:
    """A migrated database that the tests of a module share, one after the other."""
    with empty_database(database_server, template_database) as database:
        yield database


@pytest.fixture(name="life")
async def _life(module_database: TestDatabase) -> AsyncIterator[Life]:
    """An account and a market in an empty ledger, nothing limited, time standing still."""
    try:
        yield await Life.begin(module_database)
    finally:
        await module_database.disconnect()
        module_database._opened.clear()


@pytest.fixture(name="second")
async def _second(module_database: TestDatabase, life: Life) -> Life:
    """The same account served by another start of a worker, over its own session."""
    return life.on(await module_database.connect(), incarnation(2))
