"""Halts and suspensions: who sets, what they stop, what ends them. Lessons 25, 32 and 47."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, incarnation

MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("scope", "name"), [("global", None), ("account", "main"), ("market", "m1"), ("group", "g1")]
)
async def test_a_halt_refuses_every_intent_it_covers_until_a_person_ends_it(
    life: Life, scope: str, name: str | None
) -> None:
    await life.add_market("m1", group_key="g1")
    await life.add_market("m2")
    await life.open_account("other")
    version = await life.call("set_halt", scope, name, "storm", "tester")
    await life.clock.advance(86_400_000)
    assert (await life.reserve())["code"] == "HALTED"
    elsewhere = {"account": {"account": "other"}, "global": None}.get(scope, {"market": "m2"})
    if elsewhere is not None:
        assert (await life.reserve(**elsewhere))["status"] == "admitted"
    assert await life.call("clear_halt", scope, name, version, "over", "tester") == 1
    assert (await life.reserve())["status"] == "admitted"


async def test_a_halt_touches_no_exposure_row(life: Life, second: Life) -> None:
    await life.reserved()
    async with life.conn.transaction():
        await life.conn.execute("SELECT * FROM ledger.exposure FOR UPDATE")
        await life.conn.execute("SELECT * FROM ledger.account_state FOR UPDATE")
        await second.conn.execute("SET statement_timeout = 5000")
        await second.call("set_halt", "account", "main", "test", "tester")


async def test_a_halt_survives_every_session(life: Life, module_database: TestDatabase) -> None:
    await life.call("set_halt", "global", None, "test", "tester")
    await life.conn.close()
    again = life.on(await module_database.connect())
    await again.call("worker_started", incarnation(5), "w", "1")
    await again.call("sweep_breaches")
    assert (await again.reserve())["code"] == "HALTED"


async def test_resume_is_refused_while_a_newer_halt_stands(life: Life) -> None:
    first = await life.call("set_halt", "global", None, "one", "tester")
    newer = await life.call("set_halt", "global", None, "two", "tester")
    with pytest.raises(asyncpg.PostgresError, match="STALE_VERSION"):
        await life.call("clear_halt", "global", None, first)
    assert len(await life.halts()) == 2
    assert await life.call("clear_halt", "global", None, newer) == 2
    assert await life.halts() == []


async def test_resuming_one_scope_leaves_the_others(life: Life) -> None:
    version = await life.call("set_halt", "account", "main", "one", "tester")
    await life.call("set_halt", "global", None, "two", "tester")
    await life.call("set_halt", "market", "m1", "three", "tester")
    await life.call("clear_halt", "account", "main", version)
    assert await life.halts() == ["two", "three"]


async def test_resuming_without_a_version_resumes_nothing(life: Life) -> None:
    await life.call("set_halt", "global", None, "one", "tester")
    with pytest.raises(asyncpg.PostgresError, match="BAD_REQUEST"):
        await life.call("clear_halt", "global", None, None)
    assert await life.halts() == ["one"]


async def test_a_version_that_no_standing_halt_has_resumes_nothing(life: Life) -> None:
    version = await life.call("set_halt", "global", None, "one", "tester")
    with pytest.raises(asyncpg.PostgresError, match="STALE_VERSION"):
        await life.call("clear_halt", "global", None, version + 100)
    assert await life.call("clear_halt", "global", None, version) == 1
    with pytest.raises(asyncpg.PostgresError, match="STALE_VERSION"):
        await life.call("clear_halt", "global", None, version)


async def test_anyone_may_halt_and_only_risk_resumes(
    life: Life, module_database: TestDatabase
) -> None:
    for role in ("trader", "worker", "risk"):
        conn = life.on(await module_database.connect(role))
        await conn.call("set_halt", "global", None, role, "tester")
    version = await life.conn.fetchval("SELECT max(halt_id) FROM ledger.halt")
    for role in ("trader", "worker", "auditor"):
        conn = life.on(await module_database.connect(role))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.call("clear_halt", "global", None, version)
    risk = life.on(await module_database.connect("risk"))
    assert await risk.call("clear_halt", "global", None, version) == 3


@pytest.mark.parametrize(
    ("scope", "name", "why", "code"),
    [
        ("galaxy", None, "w", "BAD_REQUEST"),
        ("account", "nobody", "w", "UNKNOWN_ACCOUNT"),
        ("account", None, "w", "BAD_REQUEST"),
        ("market", "no-such-market", "w", "UNKNOWN_MARKET"),
        ("market", None, "w", "BAD_REQUEST"),
        ("group", "", "w", "BAD_REQUEST"),
        ("global", None, "", "BAD_REQUEST"),
        ("global", None, None, "BAD_REQUEST"),
    ],
)
async def test_a_halt_of_nothing_or_without_a_reason_is_refused(
    life: Life, scope: str, name: str | None, why: str | None, code: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match=f"^{code}: "):
        await life.call("set_halt", scope, name, why, "tester")
    assert await life.halts() == []


# ---- the breach and its suspension


async def breach(life: Life) -> None:
    """Confirmed tokens over the cap."""
    await life.limit("max_outcome_micros", 10 * SHARE)
    await life.add_tokens(0, 11 * SHARE)


async def test_a_breach_is_journaled_with_exposure_and_caps(life: Life) -> None:
    await life.limit("max_market_micros", 500 * SHARE)
    await breach(life)
    (row,) = await life.events("INVARIANT_BREACH_HALT")
    found = {k: row["detail"][k] for k in ("up", "down", "total", "cap_outcome", "cap_market")}
    assert found == {
        "up": 11 * SHARE,
        "down": 0,
        "total": 11 * SHARE,
        "cap_outcome": 10 * SHARE,
        "cap_market": 500 * SHARE,
    }


async def test_a_suspension_ends_by_itself(life: Life) -> None:
    await breach(life)
    await life.limit("max_outcome_micros", None)
    await life.clock.advance(15 * MINUTE_MS - 1)
    assert (await life.reserve())["code"] == "SUSPENDED"
    await life.clock.advance(1)
    assert (await life.reserve())["status"] == "admitted"


async def test_a_suspension_lasts_until_the_markets_window_ends(life: Life) -> None:
    end = int(life.clock.now.timestamp() * 1000) + 60 * MINUTE_MS
    await life.add_market("m1", window_end_ms=end)
    await breach(life)
    await life.limit("max_outcome_micros", None)
    await life.clock.advance(60 * MINUTE_MS - 1)
    assert (await life.reserve())["code"] == "SUSPENDED"
    await life.clock.advance(1)
    assert (await life.reserve())["code"] == "NOT_TRADABLE"


async def test_everything_but_a_cancel_is_refused_in_a_suspension(life: Life) -> None:
    live = await life.live()
    held = await life.prepared()
    await breach(life)
    assert (await life.reserve(side="SELL"))["code"] == "SUSPENDED"
    assert (await life.open_attempt(held))["code"] == "SUSPENDED"
    answer = await life.call("replace_order", live, life.request())
    assert answer["code"] == "SUSPENDED"
    assert await life.state(live) == "LIVE"
    assert (await life.cancel(live))["status"] == "ok"


async def test_the_sweep_cancels_what_stands_in_a_suspended_market(life: Life) -> None:
    live, waiting = await life.live(), await life.reserved()
    await breach(life)
    assert await life.call("sweep_cancels") == 2
    assert await life.claim_cancels() == [live]
    assert await life.state(waiting) == "NOT_PLACED"


async def test_the_sweep_finds_a_breach_that_no_transaction_recorded(life: Life) -> None:
    await life.add_tokens(0, 11 * SHARE)
    await life.limit("max_outcome_micros", 10 * SHARE)
    assert await life.events("INVARIANT_BREACH_HALT") == []
    assert await life.call("sweep_breaches") == 1
    assert await life.call("sweep_breaches") == 0
    assert len(await life.events("INVARIANT_BREACH_HALT")) == 1
    await life.clock.advance(15 * MINUTE_MS)
    assert await life.call("sweep_breaches") == 1


async def test_a_breach_that_was_rolled_back_is_found_again(life: Life, second: Life) -> None:
    await life.add_tokens(0, 11 * SHARE)
    await life.limit("max_outcome_micros", 10 * SHARE)
    transaction = life.conn.transaction()
    await transaction.start()
    assert await life.call("sweep_breaches") == 1
    assert await second.call("sweep_breaches") == 0
    await transaction.rollback()
    assert await second.call("sweep_breaches") == 1


async def test_a_longer_suspension_is_not_shortened_by_a_breach(life: Life) -> None:
    await life.reserved()
    await life.conn.execute(
        "UPDATE ledger.exposure SET suspended_until = ledger.clock() + interval '1 hour', "
        "suspended_why = 'REJECTS'"
    )
    await breach(life)
    exposure = await life.exposure()
    assert exposure["suspended_why"] == "INVARIANT_BREACH_HALT CAP_OUTCOME"
    assert (exposure["suspended_until"] - life.clock.now).total_seconds() == 3600


# ---- isolation


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("reserve_pending", [[{}]]),
        ("request_cancel", [[{"order_id": 1}]]),
        ("release_pending", [[{"order_id": 1}]]),
        ("prepare", [[]]),
        ("open_attempt", [[]]),
        ("acknowledge", [[]]),
        ("observe_orders", [[]]),
        ("record_fills", [[]]),
        ("record_evidence", [[]]),
        ("prove_absent", [[]]),
        ("record_cancel_answers", [[]]),
        ("replace_order", [1, {}]),
        ("resolve_order", [1, "live", None, "w", "me"]),
        ("sweep_lapsed", []),
        ("sweep_cancels", []),
        ("sweep_expired", []),
        ("sweep_breaches", []),
        ("claim_placements", [incarnation(1), ("main",), 1000, 10]),
        ("claim_look_ups", [incarnation(1), ("main",), 1000, 10]),
        ("claim_cancels", [incarnation(1), ("main",), 10]),
        ("drop_claims", [[]]),
        ("take_mutex", ["main", "m1", incarnation(1), 1000]),
        ("set_halt", ["global", None, "w", "me"]),
        ("book_movement", ["main", "collateral", 1, "deposit", "k", ""]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_another_isolation_is_refused_by(
    life: Life, function: str, arguments: list[object], level: str
) -> None:
    async with life.conn.transaction(isolation=level):
        with pytest.raises(asyncpg.PostgresError, match="ISOLATION") as caught:
            await life.call(function, *arguments)
    assert caught.value.sqlstate == "LG001"
