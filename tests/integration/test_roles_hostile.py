"""A hostile client with the trader's login that knows the schema: it exceeds no limit, and blocks nobody for long.

Beside tests/integration/test_roles_trader.py, which holds what a trader may do at all.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, call, incarnation, token
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401 - the fixture
from workers.worker.sweeps import WATCHDOG_MS

CAP: Final = 20 * SHARE
GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
BOUND_S: Final = 10.0
"""Far above the watchdog's bound of half a second and its pass of a quarter: machines are slow. Without it nobody
would ever come through.
"""


@pytest.fixture(name="hostile")
async def _hostile(life: Life, module_database: TestDatabase) -> asyncpg.Connection:
    """The trader's session. Its account may hold 20 shares of an outcome; another account's order stands."""
    await life.limit("max_outcome_micros", CAP)
    await life.open_account("other")
    login = module_database.server.role_prefix + "trader"
    await life.call("grant_account", "main", login)
    return await module_database.connect("trader")


async def ask(conn: asyncpg.Connection, life: Life, **changes: Any) -> str:
    """What its session gets for one order, however it has bent its own session."""
    text = json.dumps([life.request(**changes)])
    answered = await conn.fetchval(
        "SELECT (ledger.reserve_pending($1::pg_catalog.jsonb))::pg_catalog.text", text
    )
    [answer] = json.loads(answered)
    return str(answer.get("code", answer["status"]))


async def stands(life: Life) -> int:
    """Shares of Up that the account holds or asks for, counted from the orders themselves."""
    return int(
        await life.conn.fetchval(
            "SELECT coalesce(sum(size_micros), 0) FROM ledger.orders WHERE NOT ledger._ended(state)"
        )
    )


async def held(life: Life, conn: asyncpg.Connection) -> None:
    """The cap is in force: it fills up, and no further."""
    codes = [await ask(conn, life, price_micros=400_000 - n * 10_000) for n in range(4)]
    assert codes == ["admitted"] * 2 + ["CAP_OUTCOME"] * 2
    assert await stands(life) == CAP
    wrong = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    assert wrong == []


# ---------------------------------------------------------------------------------------- functions


async def test_every_function_that_was_not_granted_is_refused_whatever_the_arguments(
    life: Life, hostile: asyncpg.Connection
) -> None:
    rows = await life.conn.fetch(
        "SELECT p.oid::regprocedure::text AS name, p.pronargs, p.prorettype = 'trigger'::regtype AS is_trigger, "
        "has_function_privilege('${role}', p.oid, 'EXECUTE') AS granted, p.prosecdef, "
        "(SELECT array_agg(format_type(t, NULL) ORDER BY n) FROM unnest(p.proargtypes) "
        "WITH ORDINALITY a (t, n)) AS kinds, "
        "format('%I.%I', n.nspname, p.proname) AS called "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('ledger', 'audit', 'paper') AND p.prokind = 'f'".replace(
            "${role}", await hostile.fetchval("SELECT session_user")
        )
    )
    assert len(rows) > 150
    before = await life.conn.fetchval("SELECT count(*) FROM ledger.journal")
    tried = 0
    for row in rows:
        if row["granted"] or row["is_trigger"]:
            continue
        given = ", ".join(f"NULL::{kind}" for kind in row["kinds"] or ())
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await hostile.execute(f"SELECT {row['called']}({given})")
        tried += 1
    assert tried > 130
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.journal") == before


async def test_every_function_of_definer_rights_fixes_its_search_path(life: Life) -> None:
    loose = await life.conn.fetch(
        "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('ledger', 'audit', 'paper') AND p.prosecdef AND NOT EXISTS ("
        "SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=pg_catalog, %' AND c LIKE '%pg_temp')"
    )
    assert loose == []


async def test_functions_tables_and_operators_of_its_own_change_nothing(
    life: Life, hostile: asyncpg.Connection
) -> None:
    names = [
        row["proname"]
        for row in await life.conn.fetch(
            "SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'ledger'::regnamespace"
        )
    ]
    assert len(names) > 150
    for name in names:
        await hostile.execute(
            f"CREATE FUNCTION pg_temp.{name}(VARIADIC anyarray) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
    for table in ("limits", "total_limits", "exposure", "account_state", "balance", "halt", "breaker",
                  "loan", "pool", "book", "orders", "market", "account_grant", "idempotency_key"):  # fmt: skip
        await hostile.execute(f"CREATE TEMP TABLE {table} (account_id bigint, market_id bigint)")
    await hostile.execute("""
        CREATE FUNCTION pg_temp._effective(ledger_row anyelement, i integer) RETURNS bigint
            LANGUAGE sql AS 'SELECT 0::bigint';
        CREATE FUNCTION pg_temp.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
        CREATE OPERATOR pg_temp.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.always);
        CREATE OPERATOR pg_temp.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.always);
        CREATE FUNCTION pg_temp.coalesced(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1000000000000';
        CREATE OPERATOR pg_temp.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.coalesced);
        SET search_path = pg_temp, ledger, public, pg_catalog;
        """)
    await held(life, hostile)


async def test_no_schema_of_its_own_and_nothing_in_those_that_functions_look_into(
    hostile: asyncpg.Connection,
) -> None:
    for statement in (
        "CREATE SCHEMA mine",
        "CREATE FUNCTION ledger.clock(integer) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "CREATE FUNCTION public._effective_limits(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'",
        "ALTER FUNCTION ledger.reserve_pending(jsonb) RESET search_path",
        "ALTER FUNCTION ledger.reserve_pending(jsonb) SECURITY INVOKER",
        "DROP FUNCTION ledger.reserve_pending(jsonb)",
        "CREATE TABLE public.limits ()",
        "CREATE TRIGGER t BEFORE INSERT ON ledger.orders EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE r AS ON INSERT TO ledger.orders DO INSTEAD NOTHING",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION file_fdw",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY ledger.limits FROM '/etc/passwd'",
        "CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION pg_catalog.now()",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT lo_import('/etc/passwd')",
    ):
        with pytest.raises(
            (
                asyncpg.InsufficientPrivilegeError,
                asyncpg.InvalidFunctionDefinitionError,
                asyncpg.InvalidObjectDefinitionError,
                asyncpg.ObjectNotInPrerequisiteStateError,
                asyncpg.UndefinedFileError,
                asyncpg.FeatureNotSupportedError,
            )
        ):
            await hostile.execute(statement)


# -------------------------------------------------------------------------------------------- sessions


@pytest.mark.parametrize("role", ["owner", "worker", "risk", "auditor"])
async def test_it_becomes_nobody_else(
    life: Life, hostile: asyncpg.Connection, module_database: TestDatabase, role: str
) -> None:
    name = module_database.server.role_prefix + role
    for statement in (
        f"SET ROLE {name}",
        f"SET SESSION AUTHORIZATION {name}",
        f"SELECT set_config('role', '{name}', false)",
        f"SELECT set_config('session_authorization', '{name}', false)",
        f"GRANT {name} TO CURRENT_USER",
        f"ALTER ROLE {name} LOGIN PASSWORD 'x'",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        f"REASSIGN OWNED BY {name} TO CURRENT_USER",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {name} GRANT ALL ON TABLES TO PUBLIC",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await hostile.execute(statement)
    await held(life, hostile)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("session_replication_role", "replica"),
        ("row_security", "off"),
        ("search_path", "pg_temp"),
        ("transform_null_equals", "on"),
        ("synchronous_commit", "off"),
        ("plpgsql.variable_conflict", "use_column"),
        ("plpgsql.check_asserts", "off"),
        ("DateStyle", "SQL, DMY"),
        ("TimeZone", "Asia/Kathmandu"),
        ("IntervalStyle", "sql_standard"),
        ("extra_float_digits", "-15"),
        ("lc_numeric", "C"),
        ("enable_indexscan", "off"),
        ("jit_above_cost", "0"),
        ("default_transaction_isolation", "repeatable read"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_deferrable", "on"),
        ("lock_timeout", "1"),
        ("statement_timeout", "1"),
        ("check_function_bodies", "off"),
        ("local_preload_libraries", "mine"),
        ("ledger.clock", "2000-01-01"),
    ],
)
async def test_no_setting_of_its_session_lifts_a_limit(
    life: Life, hostile: asyncpg.Connection, module_database: TestDatabase, setting: str, value: str
) -> None:
    honest = await module_database.connect("trader")
    try:
        await hostile.fetchval("SELECT set_config($1, $2, false)", setting, value)
    except asyncpg.PostgresError as error:
        refused = error.sqlstate in {"42501", "22023", "55P02", "58P01"}
        assert refused, error  # noqa: PT017 - most settings may be set, and some may not
    codes = []
    for n in range(3):
        try:
            codes.append(await ask(hostile, life, price_micros=300_000 - n * 10_000))
        except asyncpg.PostgresError as error:  # its own matter: it gets nothing
            codes.append(error.sqlstate or "")
    assert await stands(life) <= CAP, codes
    for n in range(3):
        await ask(honest, life, price_micros=200_000 - n * 10_000)
    assert await stands(life) == CAP


# ------------------------------------------------------------------------------------ what it asks for


async def test_a_huge_request_is_refused_and_holds_nobody_up(
    life: Life, hostile: asyncpg.Connection, second: Life
) -> None:
    many = [life.request(key=f"h{n}", market="m1") for n in range(10_000)]
    with pytest.raises(asyncpg.PostgresError, match="at most 256"):
        await call(hostile, "reserve_pending", many)
    deep = {"a" * n: [n] * n for n in range(100)}
    [answer] = await call(hostile, "reserve_pending", [life.request(context=deep)])
    assert answer["code"] == "BAD_REQUEST"
    for function in ("request_cancel", "release_pending"):
        items = [{"order_id": n, "reason": "x", "cause": "x"} for n in range(20_000)]
        with pytest.raises(asyncpg.PostgresError):
            async with asyncio.timeout(BOUND_S):
                await call(hostile, function, items)
    assert await call(hostile, "get_orders", tuple(range(100_000))) == []
    assert await stands(life) == 0
    assert (await second.reserve())["status"] == "admitted"


async def test_items_that_bend_the_numbers_are_refused(
    life: Life, hostile: asyncpg.Connection
) -> None:
    bent: tuple[dict[str, Any], ...] = (
        {"size_micros": -10 * SHARE},
        {"size_micros": 2**63},
        {"size_micros": 10.5},
        {"size_micros": "10000000"},
        {"size_micros": [10 * SHARE]},
        {"price_micros": -400_000},
        {"price_micros": 0},
        {"price_micros": 10**18},
        {"side": "buy"},
        {"side": "SELL", "class": "emergency"},
        {"class": "unwind", "size_micros": 30 * SHARE},
        {"class": "hedge", "size_micros": 30 * SHARE},
        {"replaces_order_id": 1},
        {"set_id": -1, "size_micros": 30 * SHARE},
        {"mutex_term": 0},
        {"outcome": token("m1", 0), "size_micros": 30 * SHARE},
        {"account": "other"},
        {"account": "main' OR true --"},
        {"valid_for_ms": 10**12},
        {"limits": {}},
    )
    for changes in bent:
        assert await ask(hostile, life, **changes) != "admitted", changes
    assert await stands(life) == 0
    await held(life, hostile)


async def test_it_spends_no_budget_of_another_account_and_ends_none_of_its_orders(
    life: Life, hostile: asyncpg.Connection
) -> None:
    theirs = await _live_of_other(life)
    before = await life.conn.fetch("SELECT * FROM ledger.journal ORDER BY account_id, seq")
    item = {"order_id": theirs, "reason": "x", "cause": "x"}
    for function in ("request_cancel", "release_pending"):
        [answer] = await call(hostile, function, [item])
        assert answer["code"] == "NOT_GRANTED"
    answer = await call(hostile, "replace_order", theirs, life.request(account="other"))
    assert answer["code"] == "NOT_GRANTED"
    for function, arguments in (
        ("take_mutex", ("other", "m1", incarnation(9), 60_000)),
        ("renew_mutex", ("other", "m1", 1, 60_000)),
        ("release_mutex", ("other", "m1", 1)),
    ):
        try:
            said = await call(hostile, function, *arguments)
        except asyncpg.PostgresError as error:
            said = None
            assert "NOT_GRANTED" in str(error)  # noqa: PT017 - by an answer or by an error
        else:
            refused = said.get("code") == "NOT_GRANTED" if isinstance(said, dict) else not said
            assert refused or said == {"again": False, "released": False}, function
    assert await call(hostile, "find_by_key", "other", "theirs") is None
    assert await life.conn.fetch("SELECT * FROM ledger.journal ORDER BY account_id, seq") == before
    assert await life.state(theirs) == "LIVE"


async def _live_of_other(life: Life) -> int:
    other = life.on(life.conn)
    other.account = "other"
    return await other.live(key="theirs")


# ------------------------------------------------------------------------------------------ blocking


async def test_who_sits_on_the_hot_row_holds_nobody_up_for_longer_than_the_watchdog_allows(
    rig: Rig,
) -> None:
    """In each of the ways there are: idle, asleep, waiting for itself, in a savepoint, in a cursor, busy."""
    trader = rig.database.server.role_prefix + "trader"
    await call(rig.owner, "grant_account", "main", trader)
    ways = (
        "SELECT 1",
        "SELECT pg_sleep(3600)",
        "SELECT pg_advisory_lock(77)",
        "SAVEPOINT s; SELECT pg_sleep(3600)",
        "DECLARE c CURSOR FOR SELECT generate_series(1, 1000000000); FETCH c",
        "SELECT count(*) FROM generate_series(1, 100000000000)",
    )
    keeper = await rig.database.connect("trader")
    await keeper.execute("SELECT pg_advisory_lock(77)")
    loop = asyncio.get_running_loop()
    waited = []
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        for n, way in enumerate(ways):
            sitter = await rig.database.connect("trader")
            await sitter.execute("BEGIN")
            [answer] = await call(sitter, "reserve_pending", [rig.request(cents=5, key=f"sit {n}")])
            assert answer["status"] == "admitted", answer
            sitting = asyncio.ensure_future(sitter.execute(way))
            began = loop.time()
            async with asyncio.timeout(BOUND_S * 3):
                [answer] = await rig.ask(rig.request(cents=6, key=f"honest {n}"))
            waited.append(loop.time() - began)
            assert answer["status"] == "admitted", (way, answer)
            with suppress(*GONE):
                await sitting
            with pytest.raises(GONE):
                await sitter.execute("COMMIT")
            sitter.terminate()
    assert max(waited) < BOUND_S, (WATCHDOG_MS, waited)
    kept = await rig.owner.fetchval("SELECT count(*) FROM ledger.orders WHERE key LIKE 'sit %'")
    assert kept == 0, "what it had begun is undone"
    await rig.check_sound()
