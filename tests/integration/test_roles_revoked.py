"""An account that is taken away from a login: from then on it admits nothing, and who took it is known."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import Life, call


def _login(database: TestDatabase) -> str:
    return database.server.role_prefix + "trader"


async def _wrong(life: Life) -> list[str]:
    rows = await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
    return [str(dict(row)) for row in rows]


async def test_a_trader_whose_account_was_taken_away_reserves_no_more(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    login = _login(any_database)
    await call(life.conn, "grant_account", "main", login)
    trader = await any_database.connect("trader")
    (answer,) = await call(trader, "reserve_pending", [life.request(key="before")])
    assert answer["status"] == "admitted"

    risk = await any_database.connect("risk")
    assert await call(risk, "revoke_account", "main", login, "the bot was sold", "ann") is True

    (answer,) = await call(trader, "reserve_pending", [life.request(key="after")])
    assert (answer["status"], answer["code"]) == ("refused", "NOT_GRANTED")
    # A key of before is no way in either, and what stands is not shown any more.
    (answer,) = await call(trader, "reserve_pending", [life.request(key="before")])
    assert answer["code"] == "NOT_GRANTED"
    assert await call(trader, "standing_orders", "main") == []
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.orders") == 1
    assert await call(risk, "revoke_account", "main", login, "again", "ann") is False


async def test_who_took_an_account_away_and_when_is_in_the_audit(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    login = _login(any_database)
    await call(life.conn, "grant_account", "main", login)
    await life.clock.advance(1_000)
    risk = await any_database.connect("risk")
    await call(risk, "revoke_account", "main", login, "the bot was sold", "ann")
    auditor = await any_database.connect("auditor")
    rows = await auditor.fetch(
        "SELECT kind, who, as_whom, account, before, after, why FROM audit.changes "
        "WHERE kind IN ('grant', 'revoke') ORDER BY at, kind"
    )
    assert [(row["kind"], row["before"], row["after"]) for row in rows] == [
        ("grant", None, login),
        ("revoke", login, None),
    ]
    taken = rows[1]
    assert (taken["who"], taken["as_whom"]) == (any_database.server.role_prefix + "risk", "ann")
    assert (taken["account"], taken["why"]) == ("main", "the bot was sold")
    assert await _wrong(life) == []

    await life.clock.advance(1_000)
    await call(risk, "grant_account", "main", login)
    kinds = await auditor.fetch("SELECT kind FROM audit.changes WHERE kind IN ('grant', 'revoke')")
    assert sorted(row["kind"] for row in kinds) == ["grant", "grant", "revoke"]
    assert await _wrong(life) == []


async def test_a_grant_put_back_by_hand_turns_the_audit_red(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    login = _login(any_database)
    await call(life.conn, "grant_account", "main", login)
    grant = await life.conn.fetchrow("SELECT * FROM ledger.account_grant")
    assert grant is not None
    await call(life.conn, "revoke_account", "main", login, "the bot was sold")
    await life.conn.execute("INSERT INTO ledger.account_grant VALUES ($1, $2, $3, $4)", *grant)
    [found] = await _wrong(life)
    assert "grant to" in found


async def test_only_risk_takes_an_account_away_and_it_says_why(any_database: TestDatabase) -> None:
    life = await Life.begin(any_database)
    login = _login(any_database)
    await call(life.conn, "grant_account", "main", login)
    for role in ("trader", "worker", "auditor"):
        other = await any_database.connect(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await call(other, "revoke_account", "main", login, "x")
    for arguments, code in (
        (("main", login, ""), "BAD_REQUEST"),
        (("main", login, None), "BAD_REQUEST"),
        (("nobody", login, "x"), "UNKNOWN_ACCOUNT"),
    ):
        with pytest.raises(asyncpg.PostgresError, match=code) as caught:
            await call(life.conn, "revoke_account", *arguments)
        assert caught.value.sqlstate == "LG004"
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.account_grant") == 1


async def test_the_grant_of_a_login_that_was_dropped_can_be_taken_away(
    any_database: TestDatabase,
) -> None:
    life = await Life.begin(any_database)
    bot = f"{any_database.name}_bot"
    await life.conn.execute(f"CREATE ROLE {bot}")
    await call(life.conn, "grant_account", "main", bot)
    await life.conn.execute(f"DROP ROLE {bot}")
    assert await call(life.conn, "revoke_account", "main", bot, "it is gone") is True
    assert await life.conn.fetchval("SELECT count(*) FROM ledger.account_grant") == 0
