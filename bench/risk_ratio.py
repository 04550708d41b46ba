"""What the limits cost: the rate of reservations with every limit on, as a part of the rate with all of them off.

Two ledgers on one throw-away server, alike but for their limits, are asked in turn within one run: what else the
machine does meets both. ``python -m bench.risk_ratio`` prints one JSON object; about a minute.

``shared``: one account, 1,000 markets, requests that travel together (`SharedCommits`), from 1 and 4 processes.
``single``: one request a call, over 16 connections, for 1 and for 100 accounts.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from typing import Any, Final

import asyncpg

from app.clock import Ports
from app.db import embedded
from app.db.migrate import upgrade
from app.db.url import parse
from app.ledger.calls import LedgerCalls
from app.ledger.shared_commits import SharedCommits

MARKETS: Final = 1_000
GROUPS: Final = 50
ACCOUNTS: Final = 100
CALLERS: Final = 96
"""Who waits for an answer at a time in a process with shared commits."""
SHARE: Final = 1_000_000
MUCH: Final = 10**15
LIMITS: Final[dict[str, int | str]] = {
    "max_outcome_micros": MUCH,
    "max_market_micros": MUCH,
    "burst_per_minute": 600,
    "burst_gap_ms": 0,
    "max_order_micros": MUCH,
    "max_order_cost_micros": MUCH,
    "max_market_cost_micros": MUCH,
    "max_imbalance_micros": MUCH,
    "max_open_orders": 1_000_000,
    "cooldown_ms": 0,
    "changes_per_minute": 600,
    "collar_micros": 500_000,
    "max_slippage_bps": 10_000,
    "book_age_ms": 86_400_000,
    "self_match_allowed": "false",
    "duplicate_window_ms": 1_000,
    "duplicate_refused": "true",
    "open_buffer_ms": 1_000,
    "close_buffer_ms": 1_000,
    "weekend_allowed": "true",
    "breaker_rejects": 3,
    "breaker_cancels": 3,
    "slow_ms": 2_000,
    "stop_ms": 5_000,
}
TOTALS: Final[dict[str, dict[str, int]]] = {
    "account": {
        "max_cost_micros": MUCH,
        "max_shares_micros": MUCH,
        "max_open_orders": 1_000_000_000,
        "changes_per_minute": 100_000,
        "max_daily_loss_micros": MUCH,
        "max_rolling_loss_micros": MUCH,
        "drawdown_to_micros": MUCH,
        "drawdown_from_micros": MUCH // 2,
    },
    "group": {"max_cost_micros": MUCH, "max_shares_micros": MUCH},
    "global": {"max_cost_micros": MUCH, "max_shares_micros": MUCH},
    "live": {"max_cost_micros": MUCH},
}
WITHOUT: Final[dict[str, str]] = {"self_match_allowed": "true"}


def token(market: int, outcome: int) -> str:
    digest = hashlib.sha256(f"{market}/{outcome}".encode()).hexdigest()
    return str(int(digest, 16) % 10**76 + 10**75)


def condition(market: int) -> str:
    return f"0x{market:064x}"


# ---------------------------------------------------------------------------------------- setting up


async def set_up(server: embedded.Server) -> None:
    """One migrated ledger with markets and accounts, and its twin, in which the limits are set."""
    conn = await asyncpg.connect(server.url(database="off"))
    markets = [
        {
            "condition_id": condition(n),
            "slug": f"m{n}",
            "tick_micros": 10_000,
            "min_size_micros": 5 * SHARE,
            "fee_rate_micros": 20_000,
            "fee_exponent": 1,
            "fee_taker_only": True,
            "tradable": True,
            "untradable_reasons": [],
            "group_key": f"g{n % GROUPS}",
            "outcomes": [
                {"index": i, "label": label, "token_id": token(n, i)}
                for i, label in enumerate(("Up", "Down"))
            ],
        }
        for n in range(MARKETS)
    ]
    for start in range(0, MARKETS, 100):
        await conn.fetchval(
            "SELECT ledger.import_markets($1)", json.dumps(markets[start : start + 100])
        )
    for n in range(ACCOUNTS):
        await conn.execute("SELECT ledger.open_account($1, 'paper')", f"a{n}")
        await conn.execute(
            "SELECT ledger.book_movement($1, 'collateral', $2, 'opening', 'opening', '')",
            *(f"a{n}", MUCH),
        )
    names = await conn.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'ledger.limits'::regclass "
        "AND attnum > 2 AND NOT attisdropped"
    )
    for row in names:
        await limit(conn, row["attname"], WITHOUT.get(row["attname"]))
    await total(conn, "live", "max_cost_micros", None)
    await conn.close()
    admin = await asyncpg.connect(server.url(database="postgres"))
    await admin.execute('CREATE DATABASE "on" TEMPLATE off')
    await admin.close()
    conn = await asyncpg.connect(server.url(database="on"))
    for name, value in LIMITS.items():
        await limit(conn, name, value)
    for scope, values in TOTALS.items():
        for name, value in values.items():
            await total(conn, scope, name, value)
    books = [
        {"token_id": token(n, i), "bids": [[490_000, 10**9]], "asks": [[510_000, 10**9]]}
        | {"age_ms": 0}
        for n in range(MARKETS)
        for i in range(2)
    ]
    for start in range(0, len(books), 500):
        await conn.execute("SELECT ledger.note_books($1)", json.dumps(books[start : start + 500]))
    await conn.close()
    for name in ("off", "on"):
        conn = await asyncpg.connect(server.url(database=name))
        await conn.execute("VACUUM ANALYZE")
        await conn.close()


async def limit(conn: asyncpg.Connection, name: str, value: int | str | None) -> None:
    text = None if value is None else str(value)
    await conn.execute("SELECT ledger.set_limit(NULL, NULL, $1, $2, 'bench')", name, text)


async def total(conn: asyncpg.Connection, scope: str, name: str, value: int | None) -> None:
    text = None if value is None else str(value)
    await conn.execute("SELECT ledger.set_total_limit($1, '', $2, $3, 'bench')", scope, name, text)


# ------------------------------------------------------------------------------------------- asking


class Asker:
    """Requests of one process to one of the ledgers."""

    def __init__(self, pool: asyncpg.Pool, number: int) -> None:
        self.calls = LedgerCalls(pool)
        self._number = number
        self._count = 0
        self._rng = Ports.system().rng
        self.refused: dict[str, int] = {}

    def request(self, accounts: int) -> dict[str, Any]:
        self._count += 1
        return {
            "account": f"a{int(self._rng.uniform(0, accounts))}",
            "market": condition(int(self._rng.uniform(0, MARKETS))),
            "outcome": "Up",
            "side": "BUY",
            "price_micros": 10_000 * (10 + int(self._rng.uniform(0, 39))),
            "size_micros": SHARE * (5 + self._count % 90) + 10_000 * (self._count % 97),
            "key": f"{self._number} {self._count}",
            "valid_for_ms": 3_600_000,
        }

    def heard(self, answer: dict[str, Any]) -> int:
        if answer["status"] == "admitted":
            return 1
        self.refused[answer["code"]] = self.refused.get(answer["code"], 0) + 1
        return 0

    async def run(self, how: str, accounts: int, seconds: float, callers: int) -> int:
        """How many were admitted within the time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds

        async def send(requests: Any) -> list[dict[str, Any]]:
            return await self.calls.items("reserve_pending", requests)

        shared = SharedCommits(send, Ports.system())
        ask = shared.ask if how == "shared" else send

        async def caller() -> int:
            admitted = 0
            while loop.time() < until:
                (answer,) = await ask([self.request(accounts)])
                admitted += self.heard(answer)
            return admitted

        return sum(await asyncio.gather(*(caller() for _ in range(callers))))


def process(number: int, urls: dict[str, str], orders: Connection) -> None:
    """One process: takes orders until None comes."""

    async def main() -> None:
        pools = {
            name: await asyncpg.create_pool(url, min_size=1, max_size=16)
            for name, url in urls.items()
        }
        askers = {name: Asker(pool, number) for name, pool in pools.items()}
        loop = asyncio.get_running_loop()
        while (order := await loop.run_in_executor(None, orders.recv)) is not None:
            name, how, accounts, seconds, callers = order
            asker = askers[name]
            asker.refused = {}
            orders.send((await asker.run(how, accounts, seconds, callers), asker.refused))
        for pool in pools.values():
            pool.terminate()

    asyncio.run(main())


def measure(ends: list[Connection], order: tuple[Any, ...]) -> tuple[int, dict[str, int]]:
    for end in ends:
        end.send(order)
    admitted, refused = 0, dict[str, int]()
    for end in ends:
        count, codes = end.recv()
        admitted += count
        for code, times in codes.items():
            refused[code] = refused.get(code, 0) + times
    return admitted, refused


SHAPES: Final = {
    "shared, 1 process": (1, "shared", 1, CALLERS),
    "shared, 4 processes": (4, "shared", 1, CALLERS),
    "single, 1 account": (2, "single", 1, 8),
    "single, 100 accounts": (2, "single", ACCOUNTS, 8),
}


def run(urls: dict[str, str], seconds: float, rounds: int) -> dict[str, Any]:
    spawning = multiprocessing.get_context("spawn")
    pipes = [spawning.Pipe() for _ in range(4)]
    processes = [
        spawning.Process(target=process, args=(n, urls, theirs))
        for n, (_, theirs) in enumerate(pipes)
    ]
    for one in processes:
        one.start()
    ends = [ours for ours, _ in pipes]
    counts = {shape: {"on": 0, "off": 0} for shape in SHAPES}
    refused: dict[str, int] = {}
    for _, how, accounts, callers in SHAPES.values():
        for name in urls:  # connections, plans, the accounts' lanes
            measure(ends, (name, how, accounts, 0.5, callers))
    for turn in range(rounds):
        for shape, (number, how, accounts, callers) in SHAPES.items():
            for name in ("on", "off") if turn % 2 else ("off", "on"):
                admitted, codes = measure(ends[:number], (name, how, accounts, seconds, callers))
                counts[shape][name] += admitted
                for code, times in codes.items():
                    refused[f"{name} {code}"] = refused.get(f"{name} {code}", 0) + times
    for end in ends:
        end.send(None)
    for one in processes:
        one.join()
    return {
        "seconds_each": seconds * rounds,
        "rates": {
            shape: {
                "on_per_s": round(both["on"] / seconds / rounds),
                "off_per_s": round(both["off"] / seconds / rounds),
                "ratio": round(both["on"] / max(both["off"], 1), 3),
            }
            for shape, both in counts.items()
        },
        "refused": refused,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="each slice")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    with embedded.throwaway() as server:
        admin = server.url(database="postgres")

        async def create() -> None:
            conn = await asyncpg.connect(admin)
            await conn.execute("CREATE DATABASE off")
            await conn.close()

        asyncio.run(create())
        upgrade(server.url(database="off"))
        asyncio.run(set_up(server))
        urls = {name: parse(server.url(database=name)).dsn() for name in ("off", "on")}
        found = run(urls, given.seconds, given.rounds)
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
