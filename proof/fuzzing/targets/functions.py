"""JSON that traders and the worker hand to the ledger's SQL functions, on a real Postgres.

Each input is one call in a transaction that is rolled back, so that every input meets the same rows. Before that, what
was written is held against what was answered, deferred constraints are checked, and now and then the whole ledger.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import asyncpg

from app.errors import Code
from app.ledger.audit import audit
from proof.fuzzing.answers import Inexact
from proof.fuzzing.bending import ODD_TEXTS, bent, encoded
from proof.fuzzing.database import loop_of_ones_own, migrated
from proof.fuzzing.model import Check, Random, Surroundings, Target, Violated, require
from proof.fuzzing.targets.reading import fraction
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, token

WRITTEN: Final = (
    "orders", "reservation", "outbox", "idempotency_key", "journal", "balance_entry", "cancel_request", "replacement",
    "balance", "attempt", "halt", "book",
)  # fmt: skip
"""Tables that nothing is written to where everything was refused."""

TICK: Final = 10_000
STANDING: Final = 4
_UNKNOWN_ORDER: Final = 999_999


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: the function, its JSON, and an order where it takes one."""

    function: str
    text: str
    order: int = 0
    """Which of the standing orders: its place among them, or none of them."""
    audited: bool = False


# --- inputs ---------------------------------------------------------------------------------------


def request(rng: Random) -> dict[str, Any]:
    """An intent that could be admitted."""
    wanted: dict[str, Any] = {
        "account": rng.choice(("main", "main", "main", "main", "other", "nobody")),
        "market": rng.choice(("m1", "m2", "m1", "m9")),
        "outcome": rng.choice(("Up", "Down", "0", "1", token("m1", 0))),
        "side": rng.choice(("BUY", "BUY", "SELL")),
        "price_micros": rng.choice((450_000, 10_000, 990_000, 455_000)),
        "size_micros": rng.choice((5, 10, 25, 1_000, 40_000)) * SHARE,
        "key": rng.choice(
            (f"k{rng.getrandbits(32)}", f"k{rng.getrandbits(32)}", "standing-1", "same")
        ),
    }
    more = (
        ("order_type", rng.choice(("GTC", "FOK", "FAK", "GTD"))),
        ("post_only", rng.random() < 0.5),
        ("class", rng.choice(("entry", "hedge", "emergency"))),
        ("valid_for_ms", 30_000),
        ("expires_at_s", rng.choice((0, 2_000_000_000))),
        ("clamp", rng.random() < 0.5),
        ("context", {"a": [1, {"b": "c"}]}),
        ("origin", "maker quote"),
        ("strategy", "s"),
        ("set_id", rng.choice((1, 2))),
        ("mutex_term", 1),
    )
    return wanted | {name: value for name, value in more if rng.random() < 0.12}


def _text(rng: Random, tree: Any) -> str:
    many = rng.choices((0, 1, 2, 4), (30, 42, 20, 8))[0]
    data = encoded(rng, bent(rng, tree, many), damage=0.06 if many else 0.0)
    return data.decode("utf-8", "replace")


def _is_audited(rng: Random) -> bool:
    return rng.random() < 0.1


def make_reserve(rng: Random) -> Asked:
    audited = _is_audited(rng)
    return Asked(
        "reserve_pending",
        _text(rng, [request(rng) for _ in range(rng.choice((1, 1, 2, 3, 8)))]),
        0,
        audited,
    )


def make_cancel(rng: Random) -> Asked:
    function = rng.choice(("request_cancel", "request_cancel", "release_pending"))
    items = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        item: dict[str, Any] = {
            "order_id": _Placeholder.of(rng),
            "reason": rng.choice(("asked", *ODD_TEXTS[:30])),
        }
        if function == "release_pending":
            item["cause"] = "RELEASED"
        if rng.random() < 0.1:
            item["mutex_term"] = rng.choice((0, 1, None, "1"))
        items.append(item)
    return Asked(function, _text(rng, items), 0, _is_audited(rng))


class _Placeholder:
    """Ids of the standing orders are small numbers here, and the rows' own when it is asked."""

    @staticmethod
    def of(rng: Random) -> int:
        return rng.choice((1, 2, 3, 4, 5, _UNKNOWN_ORDER))


def make_replace(rng: Random) -> Asked:
    wanted = request(rng) | {"market": "m1", "outcome": "Up", "side": "BUY"}
    return Asked("replace_order", _text(rng, wanted), _Placeholder.of(rng), _is_audited(rng))


def make_books(rng: Random) -> Asked:
    def book() -> dict[str, Any]:
        bids = sorted(
            {rng.randrange(1, 99) * TICK for _ in range(rng.randrange(0, 4))}, reverse=True
        )
        asks = sorted({rng.randrange(1, 99) * TICK for _ in range(rng.randrange(0, 4))})
        return {
            "token_id": rng.choice((token("m1", 0), token("m1", 1), "7")),
            "bids": [[price, rng.choice((1, SHARE, 10**17))] for price in bids],
            "asks": [[price, SHARE] for price in asks],
            "age_ms": rng.choice((0, 5, 86_400_000, 86_400_001)),
        }

    return Asked("note_books", _text(rng, [book() for _ in range(rng.choice((1, 1, 2, 3)))]))


# --- the ledger it meets --------------------------------------------------------------------------


@dataclass(slots=True)
class World:
    """A connection of the owner, and the ids of the standing orders."""

    conn: asyncpg.Connection
    prefix: str
    ids: tuple[int, ...]
    tables: tuple[int, ...]


async def found(database: TestDatabase) -> World:
    """Two accounts, of which the trader has one; two markets; orders reserved, live, being replaced, and ended."""
    conn = await asyncpg.connect(database.url)
    life = Life(conn, None)  # type: ignore[arg-type]
    for name in ("max_outcome_micros", "max_market_micros", "burst_per_minute"):
        await life.limit(name, None)
    await life.limit("burst_gap_ms", 0)
    await life.open_account("main")
    await life.open_account("other")
    prefix = database.server.role_prefix
    await conn.fetchval("SELECT ledger.grant_account('main', $1)", prefix + "trader")
    for market in ("m1", "m2"):
        await life.add_market(market)
    ids = [await _standing(conn, f"standing-{n}") for n in range(1, STANDING + 1)]
    await life.call("request_cancel", [{"order_id": ids[3], "reason": "asked"}])
    stranger = await _standing(conn, "standing-5", account="other")
    tables = [
        int(await conn.fetchval("SELECT ($1 :: regclass) :: oid :: bigint", f"ledger.{name}"))
        for name in WRITTEN
    ]
    await conn.execute("SET statement_timeout = '4s'")
    return World(conn, prefix, (*ids, stranger), tuple(tables))


async def _standing(conn: asyncpg.Connection, key: str, account: str = "main") -> int:
    wanted = {
        "account": account, "market": "m1", "outcome": "Up", "side": "BUY", "price_micros": 450_000,
        "size_micros": 10 * SHARE, "key": key, "valid_for_ms": 86_400_000,
    }  # fmt: skip
    (answer,) = json.loads(
        await conn.fetchval("SELECT ledger.reserve_pending($1)", json.dumps([wanted]))
    )
    require(answer["status"] != "refused", "stuck", f"the world could not be made: {answer}")
    return int(answer["order_id"])


@contextmanager
def opened(_: Surroundings) -> Iterator[Check]:
    with migrated() as database, loop_of_ones_own() as loop:
        world = loop.run_until_complete(found(database))
        try:
            yield lambda given: loop.run_until_complete(check(world, given))
        finally:
            loop.run_until_complete(asyncio.wait_for(world.conn.close(), 5))


# --- what must hold -------------------------------------------------------------------------------

_TOO_MUCH: Final = "54001"
"""Nested deeper than the server's stack: refused as a whole by the server."""


async def check(world: World, given: Asked) -> str:
    role = "worker" if given.function == "note_books" else "trader"
    text, order = _with_ids(world, given)
    transaction = world.conn.transaction()
    await transaction.start()
    try:
        before = await _written(world)
        await world.conn.execute(f"SET LOCAL SESSION AUTHORIZATION {world.prefix}{role}")
        try:
            raw = await _call(world, given.function, text, order)
        except asyncpg.PostgresError as error:
            return _refused_as_a_whole(error)
        await world.conn.execute("RESET SESSION AUTHORIZATION")
        await world.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        outcome = await _judge(world, given.function, text, raw, before)
        if given.audited:
            await _audit(world.conn)
        return outcome
    finally:
        await transaction.rollback()


def _with_ids(world: World, given: Asked) -> tuple[str, int]:
    """The text with the rows' own ids in place of the small numbers."""
    text = given.text
    for at, order_id in enumerate(world.ids, start=1):
        text = text.replace(f'"order_id":{at},', f'"order_id":{order_id},')
    order = world.ids[given.order - 1] if 0 < given.order <= len(world.ids) else given.order
    return text, order


async def _call(world: World, function: str, text: str, order: int) -> Any:
    if function == "replace_order":
        return await world.conn.fetchval("SELECT ledger.replace_order($1, $2)", order, text)
    return await world.conn.fetchval(f"SELECT ledger.{function}($1)", text)


def _refused_as_a_whole(error: asyncpg.PostgresError) -> str:
    """What the client turns into `BadInput`; anything else is an error of the functions."""
    state = error.sqlstate or ""
    if state.startswith("LG"):
        code = str(error.args[0]).partition(":")[0]
        require(
            code in Code.__members__, "misread", f"refused without a code: {error.args[0]!r:.120}"
        )
        return f"raised {code}"
    if state == "57014":
        raise Violated("hang", "the statement was ended after 4 s")
    if state.startswith("22") or state == _TOO_MUCH:
        return f"raised {state}"
    raise Violated("crash", f"the database answered {state}: {str(error)[:160]}")


async def _judge(world: World, function: str, text: str, raw: Any, before: int) -> str:
    written = await _written(world) - before
    try:
        asked = _read(text)
    except RecursionError:
        return "deep"  # deeper than a reader here can follow; the server could
    if function == "note_books":
        return await _books(world.conn, int(raw), asked)
    answers = json.loads(raw)
    if isinstance(answers, dict):
        answers = [answers]
    if function != "replace_order":
        require(
            len(answers) == len(asked), "misread", f"{len(answers)} answers to {len(asked)} items"
        )
    for answer in answers:
        _known(answer)
    news = [one for one in answers if one["status"] != "refused" and not one.get("replay")]
    if all(one["status"] == "refused" for one in answers):
        require(not written, "written", f"everything was refused, and {written} rows were written")
    if function == "reserve_pending":
        fresh = await world.conn.fetchval(
            "SELECT count(*) FROM ledger.orders WHERE order_id > $1", max(world.ids)
        )
        require(fresh == len(news), "misread", f"{fresh} orders for {len(news)} admissions")
        for at, answer in enumerate(answers):
            if answer["status"] != "refused" and not answer.get("replay"):
                await _admitted(world.conn, asked[at], answer)
    return "+".join(sorted({str(one.get("code") or one["status"]) for one in answers}))[:60]


def _read(text: str) -> Any:
    """As the server reads it: of a key that stands twice the last one, numbers as they are written."""
    return json.loads(text, parse_float=Inexact, parse_int=_number)


def _number(text: str) -> Any:
    return int(text) if len(text) < 100 else Inexact(text)


def _known(answer: Any) -> None:
    require(
        isinstance(answer, dict) and isinstance(answer.get("status"), str),
        "misread",
        f"an answer {answer!r:.80}",
    )
    if answer["status"] == "refused":
        require(
            answer.get("code") in Code.__members__,
            "misread",
            f"refused by {answer.get('code')!r:.40}",
        )
        require(
            isinstance(answer.get("detail"), str) and answer["detail"],
            "misread",
            "refused without a word",
        )


async def _written(world: World) -> int:
    """Rows written by this session to the tables that matter, those of this transaction among them."""
    return int(
        await world.conn.fetchval(
            "SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(t) + pg_stat_get_xact_tuples_updated(t) "
            "+ pg_stat_get_xact_tuples_deleted(t)), 0) FROM unnest($1 :: bigint[]) t",
            list(world.tables),
        )
    )


async def _admitted(conn: asyncpg.Connection, asked: Any, answer: dict[str, Any]) -> None:
    """What was admitted is what was asked for, exactly, by one that may."""
    require(isinstance(asked, dict), "misread", "something that is no request was admitted")
    row = await conn.fetchrow(
        "SELECT o.*, a.name, m.slug FROM ledger.orders o JOIN ledger.account a USING (account_id) "
        "JOIN ledger.market m USING (market_id) WHERE o.order_id = $1",
        answer["order_id"],
    )
    require(row is not None, "misread", "an admission without an order")
    assert row is not None
    require(
        row["name"] == "main" == asked.get("account"),
        "misread",
        f"admitted for the account {row['name']}",
    )
    price, size = _exact(asked.get("price_micros")), _exact(asked.get("size_micros"))
    clamped = asked.get("clamp") is True
    require(
        clamped or row["price_micros"] == price,
        "misread",
        f"the price is {row['price_micros']}, asked {price}",
    )
    require(
        row["size_micros"] == size or (clamped and row["size_micros"] < size),
        "misread",
        f"the size is {row['size_micros']}, asked {size}",
    )
    require(
        0 < row["price_micros"] < 1_000_000 and row["price_micros"] % TICK == 0,
        "misread",
        "a price that is none",
    )
    require(
        row["size_micros"] >= 5 * SHARE and row["size_micros"] % 10_000 == 0,
        "misread",
        "a size that is none",
    )
    require(
        row["side"] == asked.get("side") and row["side"] in ("BUY", "SELL"),
        "misread",
        "another side",
    )
    require(row["key"] == asked.get("key"), "misread", "another key")
    require(row["side"] == "BUY", "misread", "tokens were sold that nobody has")


def _exact(told: Any) -> int:
    """A whole number of JSON, however it is written."""
    amount = _amount(told)
    require(type(amount) is int, "misread", f"admitted with {told!r:.40}")
    return int(amount)


async def _books(conn: asyncpg.Connection, count: int, told: Any) -> str:
    """What is stored are levels in order, exact, and of a token that we know."""
    asked = [one for one in told if isinstance(one, dict)]
    require(0 <= count <= len(asked), "misread", f"{count} books were stored of {len(asked)}")
    for row in await conn.fetch("SELECT bids, asks FROM ledger.book"):
        for name, sign in (("bids", -1), ("asks", 1)):
            prices, sizes = row[name][::2], row[name][1::2]
            require(len(prices) == len(sizes) <= 20, "misread", "levels without sizes")
            require(
                all(0 < one < 1_000_000 for one in prices) and all(one > 0 for one in sizes),
                "misread",
                "a level that is none",
            )
            steps = [sign * (later - one) for one, later in pairwise(prices)]
            require(all(step > 0 for step in steps), "misread", "levels out of order")
            told = [_pairs(one.get(name)) for one in asked]
            require(
                list(zip(prices, sizes, strict=True)) in told,
                "misread",
                "levels that were not told",
            )
    return f"{count} stored"


def _pairs(side: Any) -> list[tuple[Any, Any]]:
    if not isinstance(side, list):
        return []
    pairs = [one for one in side[:20] if isinstance(one, list) and len(one) >= 2]
    return [(_amount(one[0]), _amount(one[1])) for one in pairs]


def _amount(told: Any) -> Any:
    """Postgres keeps 4.5e5 as 450000; text stays text, and is no amount."""
    value = fraction(str(told)) if isinstance(told, Inexact) else None
    return int(value) if value is not None and value.denominator == 1 else told


async def _audit(conn: asyncpg.Connection) -> None:
    report = await audit(conn)
    differences = "; ".join(f"{name}: {row}" for name, row in report.differences[:2])
    require(report.ok, "misread", f"the audit is red: {differences[:200]}")


TARGETS: Final = (
    Target("sql-reserve", make_reserve, opened, weight=1.2, needs_database=True, bound_s=20.0),
    Target("sql-cancel", make_cancel, opened, weight=0.6, needs_database=True, bound_s=20.0),
    Target("sql-replace", make_replace, opened, weight=0.6, needs_database=True, bound_s=20.0),
    Target("sql-books", make_books, opened, weight=0.6, needs_database=True, bound_s=20.0),
)
