"""A trader acts through functions, for the accounts granted to its login, and reaches no table.

On Postgres 18 and 15.
"""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import Life, call

FUNCTIONS = {
    "clock", "find_by_key", "get_orders", "release_mutex", "release_pending", "renew_mutex",
    "replace_order", "request_cancel", "request_cancel_all", "reserve_pending", "set_halt",
    "standing_orders", "take_mutex", "take_receipt",
}  # fmt: skip


async def _relations(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm') "
        "AND n.nspname IN ('ledger', 'audit', 'paper')"
    )
    return [row["name"] for row in rows]


def _login(database: TestDatabase, role: str = "trader") -> str:
    return database.server.role_prefix + role


async def _grant(life: Life, login: str, account: str = "main") -> None:
    await life.conn.execute("SELECT ledger.grant_account($1, $2)", account, login)


async def test_a_trader_can_neither_read_nor_write_a_table(any_database: TestDatabase) -> None:
    owner, trader = await any_database.connect(), await any_database.connect("trader")
    names = await _relations(owner)
    assert len(names) > 60
    for name in names:
        for statement in (
            f"SELECT * FROM {name}",
            f"DELETE FROM {name}",
            f"INSERT INTO {name} DEFAULT VALUES",
            f"TRUNCATE {name}",
            f"COPY {name} TO STDOUT",
            f"BEGIN; LOCK TABLE {name} IN ACCESS SHARE MODE",
        ):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.WrongObjectTypeError)):
                await trader.execute(statement)
            await trader.execute("ROLLBACK")


async def test_a_trader_runs_only_the_functions_for_it(any_database: TestDatabase) -> None:
    owner = await any_database.connect()
    rows = await owner.fetch(
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('ledger', 'audit', 'paper', 'public') "
        "AND has_function_privilege($1, p.oid, 'EXECUTE')",
        _login(any_database),
    )
    assert {row["proname"] for row in rows} == FUNCTIONS
    trader = await any_database.connect("trader")
    for statement in (
        "SELECT ledger.clear_halt('global', '', 99)",
        "SELECT ledger.set_limit(NULL, NULL, 'burst_gap_ms', '0', 'x')",
        "SELECT ledger.grant_account('main', current_user)",
        "SELECT ledger.book_movement('main', 'collateral', 1, 'deposit', 'k', '')",
        "SELECT ledger.prepare('[]')",
        "SELECT ledger._book(1, 'collateral', 1, 0, 'x', 'x', now())",
        "SELECT ledger._may_act_for(1)",
        "SELECT nextval('ledger.order_id_seq')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await trader.execute(statement)


async def test_a_trader_acts_for_a_granted_account(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    await _grant(life, _login(any_database))
    trader = await any_database.connect("trader")
    (answer,) = await call(trader, "reserve_pending", [life.request(key="mine")])
    assert answer["status"] == "admitted"
    (shown,) = await call(trader, "get_orders", (answer["order_id"],))
    assert shown["key"] == "mine"
    assert (await life.events("RESERVE"))[0]["actor"] == _login(any_database)


async def test_a_trader_cannot_act_for_another_account(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    await life.open_account("other")
    await _grant(life, _login(any_database), "other")
    order_id = await life.live(key="theirs")
    trader = await any_database.connect("trader")

    async def refused(function: str, *arguments: Any) -> None:
        answer = await call(trader, function, *arguments)
        (one,) = answer if isinstance(answer, list) else [answer]
        assert (one["status"], one["code"]) == ("refused", "NOT_GRANTED"), function

    item = {"order_id": order_id, "reason": "x", "cause": "x"}
    request = life.request(key="new")
    await refused("reserve_pending", [request])
    await refused("reserve_pending", [life.request(key="theirs")])
    await refused("request_cancel", [item])
    with pytest.raises(asyncpg.PostgresError, match="UNKNOWN_ACCOUNT"):
        await call(trader, "request_cancel_all", "main", None, "x")
    await refused("release_pending", [item])
    await refused("replace_order", order_id, request)
    await refused("take_mutex", "main", "m1", uuid.UUID(int=9), 1_000)
    assert await call(trader, "get_orders", (order_id,)) == []
    assert await call(trader, "find_by_key", "main", "theirs") is None
    assert await call(trader, "standing_orders", "main") == []
    with pytest.raises(asyncpg.PostgresError, match="NOT_GRANTED"):
        await call(trader, "take_receipt", "main", "bot", "k")
    # naming an account of its own does not reach the other account's order
    crossed = await call(trader, "replace_order", order_id, request | {"account": "other"})
    assert crossed["status"] == "refused"
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.orders") == 1
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.cancel_request") == 0
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.receipt") == 0
    assert await life.conn.fetchval("SELECT mutex_term FROM ledger.exposure") == 0
    assert await life.state(order_id) == "LIVE"


async def test_cancel_all_answers_an_account_not_granted_like_one_that_is_not_there(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    order_ids = [await life.live(), await life.reserved()]
    trader = await any_database.connect("trader")
    for market in (None, "m1", "nowhere"):
        said = []
        for name in ("main", "nobody"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await call(trader, "request_cancel_all", name, market, "x")
            assert caught.value.sqlstate == "LG004"
            said.append(str(caught.value).replace(name, "…"))
        assert said[0] == said[1]
        assert said[0].startswith("UNKNOWN_ACCOUNT: … is not an account of this login")
    assert [await life.state(order_id) for order_id in order_ids] == ["LIVE", "RESERVED"]
    assert await life.claim_cancels() == []


async def test_set_role_lends_no_account(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    friend = f"ledger_test_friend_{uuid.uuid4().hex[:8]}"
    login = _login(any_database)
    await life.conn.execute(f"CREATE ROLE {friend}; GRANT {login} TO {friend}")
    try:
        await life.conn.execute(f"GRANT {friend} TO {_login(any_database, 'risk')}")
        await _grant(life, friend)
        risk = await any_database.connect("risk")
        await risk.execute(f"SET ROLE {friend}")
        (answer,) = await call(risk, "reserve_pending", [life.request()])
        assert answer["code"] == "NOT_GRANTED"
    finally:
        await life.conn.execute(f"DROP ROLE {friend}")
    trader = await any_database.connect("trader")
    for role in ("owner", "worker", "risk", "auditor"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await trader.execute(f"SET ROLE {_login(any_database, role)}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await trader.execute(f"SET SESSION AUTHORIZATION {_login(any_database, role)}")


async def test_shadow_objects_do_not_change_what_a_function_does(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    await life.limit("max_outcome_micros", 5_000_000)
    trader = await any_database.connect("trader")
    await trader.execute("""
        CREATE TEMP TABLE account_grant AS SELECT n AS account_id, session_user AS role_name,
            session_user AS granted_by, now() AS granted_at FROM generate_series(1::bigint, 9) n;
        CREATE TEMP TABLE limits (account_id bigint, market_id bigint, max_outcome_micros bigint);
        CREATE TEMP VIEW halt AS SELECT NULL::bigint AS halt_id;
        CREATE FUNCTION pg_temp._may_act_for(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION pg_temp._effective(text, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 0';
        CREATE FUNCTION pg_temp.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''-infinity''::timestamptz';
        CREATE FUNCTION pg_temp.greatest_of(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
        CREATE OPERATOR pg_temp.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.greatest_of);
        CREATE DOMAIN pg_temp.jsonb AS text;
        CREATE TYPE pg_temp.request AS (item integer);
        SET search_path = pg_temp, ledger, pg_catalog;
        """)
    request = life.request(size_micros=5_000_000)
    query = "SELECT ledger.reserve_pending($1::pg_catalog.jsonb)::text"
    answer = await _ask(trader, query, request)
    assert '"NOT_GRANTED"' in answer
    await _grant(life, _login(any_database))
    answer = await _ask(trader, query, request | {"size_micros": 6_000_000})
    assert '"CAP_OUTCOME"' in answer
    assert '"admitted"' in await _ask(trader, query, request)


async def _ask(conn: asyncpg.Connection, query: str, request: dict[str, Any]) -> str:
    import json

    return str(await conn.fetchval(query, json.dumps([request])))


async def test_a_trader_makes_nothing_where_functions_look(any_database: TestDatabase) -> None:
    trader = await any_database.connect("trader")
    for schema in ("ledger", "audit", "paper", "public", "pg_catalog"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await trader.execute(
                f"CREATE FUNCTION {schema}.reserve_pending(json) RETURNS json LANGUAGE sql AS 'SELECT $1'"
            )


async def test_a_trader_may_halt_and_not_resume(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    trader = await any_database.connect("trader")
    version = await call(trader, "set_halt", "account", "main", "stop")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await call(trader, "clear_halt", "account", "main", version)
    assert await life.halts() == ["stop"]
