"""The hunt for planted bugs finds one, leaves the code as it was, and does not find what is no bug."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from proof.mutation import planted
from proof.mutation.mutants import Edit, Mutant, source
from proof.mutation.planted import Bug, hunt
from proof.simulation.postgres import PostgresStore
from proof.simulation.wire import Session
from tests.support.servers import TestServer
from tests.support.simulated import simulated
from workers.worker import reading

FACTS = "app/ledger/sql/functions/facts.sql"


class Ground(NamedTuple):
    store: PostgresStore
    session: Session


@pytest.fixture(name="ground")
def _ground(database_server: TestServer, template_database: str) -> Iterator[Ground]:
    with simulated(database_server, template_database) as (store, at):
        session = Session(at.folder, at.port, at.database, at.user)
        yield Ground(store, session)
        session.close()


def body(ground: Ground) -> Any:
    return ground.session.fetch("SELECT prosrc FROM pg_proc WHERE proname = '_fill'")


def test_a_death_between_a_fill_and_its_position_is_found(ground: Ground) -> None:
    [bug] = [one for one in planted.bugs() if one.name == "fill and position in two commits"]
    before = body(ground), reading.book_trades.__code__.co_code
    found = hunt(ground.store, ground.session.run, bug, seed=1, seconds=60)
    assert found.what != ""
    assert found.runs < 60
    assert (body(ground), reading.book_trades.__code__.co_code) == before
    assert asyncio.iscoroutinefunction(reading.book_trades)


def test_what_is_no_bug_is_not_found(ground: Ground) -> None:
    old = "    v_new := NOT FOUND;"
    edit = Edit(source(FACTS).index(old), old, old + " -- none")
    bug = Bug("none", "a test of the hunt", (Mutant("none", FACTS, (edit,), "none", named=True),))
    found = hunt(ground.store, ground.session.run, bug, seed=1, seconds=1)
    assert found.what == ""
    assert found.runs >= 1
