"""Databases that are broken on purpose, so that the checker has something to find. For throw-away databases only.

Each takes away one thing that isolation rests on; none adds an error of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

import asyncpg

_LOCK = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?UPDATE(\s+OF\s+\w+)?(\s+NOWAIT|\s+SKIP\s+LOCKED)?", re.I)

_DEFINITIONS = """
SELECT pg_get_functiondef(p.oid) FROM pg_proc p
WHERE p.pronamespace = 'ledger'::regnamespace AND p.prosrc ~* 'FOR\\s+(NO\\s+KEY\\s+)?UPDATE' AND p.proname = ANY ($1)
"""

_LINGER = """
CREATE FUNCTION ledger.linger() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER linger BEFORE INSERT ON ledger.orders FOR EACH ROW EXECUTE FUNCTION ledger.linger();
"""
"""Between the check and the commit, so that the window is met soon."""

_FORGET = """
CREATE FUNCTION ledger.forget() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF random() < 0.3 THEN NEW.pending_buy := OLD.pending_buy; END IF; RETURN NEW; END $$;
CREATE TRIGGER forget BEFORE UPDATE ON ledger.exposure FOR EACH ROW EXECUTE FUNCTION ledger.forget();
"""


_LAGGING = """
CREATE FUNCTION ledger._halted_by(p_account_id bigint, p_market_id bigint) RETURNS {} LANGUAGE plpgsql AS
$$ BEGIN
    IF EXISTS (SELECT FROM ledger.halt
               WHERE set_at > clock_timestamp() - interval '1 second' AND cleared_at IS NULL) THEN
        RETURN NULL;
    END IF;
    RETURN ledger._halted_by_now(p_account_id, p_market_id);
END $$
"""


async def without_locks(conn: asyncpg.Connection) -> None:
    """Reservations check and add without locking the row they check."""
    names = ["reserve_pending", "_lock_free_lanes", "_lock_lanes"]
    found = [row[0] for row in await conn.fetch(_DEFINITIONS, names)]
    changed = 0
    for definition in found:
        weak, count = _LOCK.subn("", definition)
        changed += count
        await conn.execute(weak)
    if not changed:
        raise AssertionError("no lock was found to be taken away")
    await conn.execute(_LINGER)


async def halts_from_a_copy(conn: asyncpg.Connection) -> None:
    """Halts are read from a copy that lags behind: one that is younger than a second is not seen."""
    kind = await conn.fetchval(
        "SELECT prorettype::regtype FROM pg_proc WHERE oid = 'ledger._halted_by(bigint, bigint)'::regprocedure"
    )
    await conn.execute("ALTER FUNCTION ledger._halted_by(bigint, bigint) RENAME TO _halted_by_now")
    await conn.execute(_LAGGING.format(kind))


async def counters_that_forget(conn: asyncpg.Connection) -> None:
    """A counter is written back as it was read before: now and then an update is lost."""
    await conn.execute(_FORGET)


WEAKENED: Mapping[str, tuple[Callable[[asyncpg.Connection], Awaitable[None]], tuple[str, ...]]] = {
    "without locks": (without_locks, ("write skew", "lost update", "no legal order")),
    "halts from a copy": (halts_from_a_copy, ("stale read", "no legal order")),
    "counters that forget": (counters_that_forget, ("lost update", "no legal order")),
}
"""What is taken away, and which anomalies may show it."""
