"""No code path signs a second order for an intent whose first fate is open: there is one path that signs at
all, it takes unsigned intents alone, and the database keeps one signed order per intent for ever.

That nobody gets around it by takeover, restart, operator retry or another version is tried in
``tests/acceptance/test_polymarket_faults_starting.py``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.database import TestDatabase
from tests.support.life import call
from tests.support.worker import Rig, rig_fixture  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
SENDING = "workers/worker/sending.py"

Uses = dict[str, set[str]]
"""File to the functions in which something is used."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for top in ("app", "workers", "migrations"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def uses(*names: str, calls_only: bool = False) -> Uses:
    """Where a name is called, or (unless ``calls_only``) handed on; imports are not counted."""
    found: Uses = {}
    for name, tree in sources():
        for where, node in _nodes(tree, "module"):
            target = node.func if calls_only and isinstance(node, ast.Call) else node
            if calls_only and not isinstance(node, ast.Call):
                continue
            called = getattr(target, "id", None) or getattr(target, "attr", None)
            if called in names:
                found.setdefault(name, set()).add(where)
    return found


def importing(name: str) -> Iterator[tuple[str, str]]:
    """Files that take a name of the send path's, and the line."""
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("worker.sending"):
                for one in node.names:
                    if one.name == name:
                        yield file, ast.unparse(node)


def _nodes(tree: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else where
        yield inside, node
        yield from _nodes(node, inside)


# --- the code -------------------------------------------------------------------------------------


def test_one_function_of_the_worker_builds_orders_and_nothing_else_does() -> None:
    assert uses("build_order") == {SENDING: {"_sign"}}
    inside = uses("_sign", calls_only=True), uses("_prepare", calls_only=True)
    assert [found[SENDING] for found in inside] == [{"_prepare"}, {"_send"}]
    assert list(importing("_sign")) == []


def test_the_private_key_signs_orders_in_one_place_and_proofs_of_who_asks_in_another() -> None:
    assert uses("sign_digest") == {"app/venue/polymarket/l1.py": {"headers"}}
    signs = uses("sign", calls_only=True)
    # The simulator's throw-away certificates are signed with a key of their own.
    signs.pop("app/venue/simulator/certificates.py")
    assert signs == {"app/venue/polymarket/order.py": {"build_order"}}


def test_the_worker_signs_only_what_the_ledger_says_was_never_signed() -> None:
    tree = ast.parse((ROOT / SENDING).read_text())
    [send] = [one for _, one in _nodes(tree, "") if getattr(one, "name", "") == "_send"]
    [call_] = [
        one
        for _, one in _nodes(send, "")
        if isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "_prepare"
    ]
    taken = ast.unparse(call_.args[-1])
    assert re.search(r"if work\['state'\] == 'RESERVED'\]$", taken), taken


def test_orders_reach_the_venue_through_the_send_path_alone() -> None:
    """Beside it the doctor asks for the very bytes of its own order once more, which is what it wants to know."""
    assert uses("POST_ORDER", "POST_ORDERS").keys() - {
        # What is said of them: names, windows, meanings of answers.
        "app/venue/polymarket/wire.py",
        "app/venue/polymarket/limits.py",
        "app/venue/polymarket/answers/modes.py",
        "app/venue/polymarket/answers/outcomes.py",
    } == {"app/venue/polymarket/venue.py", "workers/doctor/live.py"}
    stored = (ROOT / "workers/doctor/live.py").read_text()
    assert "body=with_owner(stored.body" in stored


def test_one_statement_stores_signed_orders_and_none_changes_them() -> None:
    written = re.compile(
        r"\b(INSERT INTO|UPDATE|DELETE FROM|TRUNCATE)\s+(?:ledger\.)?signed_order\b"
    )
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for top in ("app", "workers")
        for path in sorted((ROOT / top).rglob("*"))
        if path.suffix in (".sql", ".py")
    }
    found = {name: written.findall(text) for name, text in texts.items() if written.search(text)}
    assert found == {"app/ledger/sql/functions/attempts.sql": ["INSERT INTO"]}


# --- the database ---------------------------------------------------------------------------------


async def test_only_a_reserved_intent_can_be_signed_and_nothing_becomes_reserved_again(
    database: TestDatabase,
) -> None:
    connection = await asyncpg.connect(database.url)
    try:
        rows = await connection.fetch(
            "SELECT from_state, to_state FROM ledger.transition "
            "WHERE event = 'PREPARE' AND to_state IS NOT NULL"
        )
        assert [tuple(row) for row in rows] == [("RESERVED", "PREPARED")]
        back = await connection.fetch(
            "SELECT * FROM ledger.transition WHERE to_state = 'RESERVED' "
            "AND from_state <> 'RESERVED'"
        )
        assert back == []
    finally:
        await connection.close()


@pytest.mark.parametrize("state", ["PREPARED", "SENDING", "HELD_BACK", "UNKNOWN"])
async def test_a_claim_on_a_signed_order_cannot_store_other_bytes_for_it(
    rig: Rig, state: str
) -> None:
    """Also not by the worker that holds the claim, were it ever to try."""
    order_id = await rig.reserve()
    holder = "00000000-0000-0000-0000-0000000000aa"
    await call(rig.owner, "worker_started", holder, "test", "0", 60_000)
    [work] = await call(rig.owner, "claim_placements", holder, ("main",), 60_000, 10)
    item: dict[str, Any] = {
        "order_id": order_id,
        "incarnation": holder,
        "claim_no": work["claim_no"],
        "venue_order_id": "0x" + "a1" * 32,
        "body": "e30=",
        "fields": {},
    }
    [first] = await call(rig.owner, "prepare", [item])
    assert first["status"] == "ok"
    if state != "PREPARED":
        async with rig.owner.acquire() as connection, connection.transaction():
            # Without the triggers that keep an order on its legal ways.
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("UPDATE ledger.orders SET state = $1", state)
    [second] = await call(
        rig.owner, "prepare", [item | {"venue_order_id": "0x" + "b2" * 32, "body": "e317"}]
    )
    assert (second["status"], second["code"]) == ("refused", "ILLEGAL_TRANSITION")
    rows = await rig.owner.fetch("SELECT venue_order_id, body FROM ledger.signed_order")
    assert [tuple(row) for row in rows] == [("0x" + "a1" * 32, b"{}")]
    assert (await rig.order(order_id))["state"] == state
