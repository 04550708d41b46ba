"""Faults planted in the ledger's own functions are seen by the targets that hand them JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proof.fuzzing import targets
from proof.fuzzing.model import Surroundings, Violated, first_of, rng_of
from proof.fuzzing.targets import command_line, functions
from proof.fuzzing.targets.functions import World
from tests.support.cli import Cli
from tests.support.database import TestDatabase

WRAPPED = """
ALTER FUNCTION ledger.reserve_pending(jsonb) RENAME TO true_reserve;
CREATE FUNCTION ledger.reserve_pending(p jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$ BEGIN {0} RETURN ledger.true_reserve({1}); END $$;
GRANT EXECUTE ON FUNCTION ledger.reserve_pending(jsonb) TO PUBLIC;
"""
DEARER = """(SELECT coalesce(jsonb_agg(CASE WHEN x ->> 'price_micros' = '450000'
    THEN x || '{"price_micros": 460000}' ELSE x END), '[]') FROM jsonb_array_elements(p) x)"""


@pytest.fixture(name="met")
async def met_fixture(database: TestDatabase) -> AsyncIterator[World]:
    world = await functions.found(database)
    yield world
    await asyncio.wait_for(world.conn.close(), 5)


async def seen(world: World, name: str, most: int) -> list[Violated]:
    """What the first inputs of a target break."""
    found = []
    for number in range(first_of(1), first_of(1) + most):
        try:
            await functions.check(world, targets.ALL[name].make(rng_of(name, number)))
        except Violated as violated:
            found.append(violated)
    return found


@pytest.mark.parametrize("name", ["sql-reserve", "sql-cancel", "sql-replace", "sql-books"])
async def test_functions_answer_whatever_they_are_handed(met: World, name: str) -> None:
    before = await met.conn.fetchval("SELECT count(*) FROM ledger.journal")
    assert await seen(met, name, 120) == []
    assert await met.conn.fetchval("SELECT count(*) FROM ledger.journal") == before


async def test_a_write_on_refusal_is_found(met: World) -> None:
    await met.conn.execute(WRAPPED.format("UPDATE ledger.orders SET key = key;", "p"))
    assert "written" in {one.kind for one in await seen(met, "sql-reserve", 60)}


async def test_an_admission_of_another_price_than_was_asked_is_found(met: World) -> None:
    await met.conn.execute(WRAPPED.format("", DEARER))
    assert any("the price is 460000" in one.what for one in await seen(met, "sql-reserve", 150))


async def test_an_error_inside_a_function_is_found(met: World) -> None:
    await met.conn.execute(
        WRAPPED.format("PERFORM 1 / jsonb_array_length(p) FROM no_such_table;", "p")
    )
    assert "crash" in {one.kind for one in await seen(met, "sql-reserve", 30)}


async def test_an_audit_that_is_red_is_found(met: World) -> None:
    await met.conn.execute(
        WRAPPED.format("UPDATE ledger.exposure SET bought = ARRAY[bought[1] + 1, bought[2]];", "p")
    )
    asked = functions.Asked("reserve_pending", "[]", audited=True)
    with pytest.raises(Violated, match="the audit is red"):
        await functions.check(met, asked)


def test_commands_answer_whatever_is_typed(database: TestDatabase, tmp_path: Path) -> None:
    with targets.ALL["command-line"].opened(Surroundings(tmp_path)) as check:
        codes = {
            check(command_line.make(rng_of("command-line", number)))[-1] for number in range(25)
        }
    assert {"0", "2"} <= codes


def test_an_unexpected_error_of_a_command_is_found(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("workers.cli.orders.with_ledger", broken)
    settings = Cli(database, tmp_path).environment()
    with pytest.raises(Violated, match="an error of the program itself: KeyError"):
        command_line.check(("orders",), settings, tmp_path)
