"""The page and the picture about an order's states say what the database enforces."""

from __future__ import annotations

from pathlib import Path

from tests.support.database import TestDatabase
from workers.docs import picture, states

ROOT = Path(__file__).resolve().parents[2]


async def test_the_page_is_the_one_the_table_gives(database: TestDatabase) -> None:
    conn = await database.connect()
    rows = {name: await conn.fetch(query) for name, query in states.QUERIES.items()}
    found = (ROOT / "docs/state-machine.md").read_text("utf-8")
    assert found == states.page(rows), "run: python -m workers.docs --with-database"


async def test_the_table_has_one_row_for_each_state_and_event(database: TestDatabase) -> None:
    conn = await database.connect()
    rows = await conn.fetch(states.QUERIES["transitions"])
    names = {row["state"] for row in await conn.fetch(states.QUERIES["states"])}
    events = {row["event"] for row in await conn.fetch(states.QUERIES["events"])}
    assert {(row["from_state"], row["event"]) for row in rows} == {
        (state, event) for state in names for event in events
    }
    assert len(rows) == len(names) * len(events)


async def test_every_arrow_of_the_picture_is_a_row_of_the_table(database: TestDatabase) -> None:
    conn = await database.connect()
    allowed = {
        (row["from_state"], row["event"], row["to_state"])
        for row in await conn.fetch(states.QUERIES["transitions"])
    }
    drawn = {(one.source, one.event, one.target) for one in picture.ARROWS}
    assert drawn <= allowed


async def test_the_picture_shows_every_state_as_what_it_is(database: TestDatabase) -> None:
    conn = await database.connect()
    kinds = {
        row["state"]: "ended" if row["ended"] else "maybe" if row["sent"] else "unsent"
        for row in await conn.fetch(states.QUERIES["states"])
    }
    assert {box.state: box.kind for box in picture.BOXES} == kinds
