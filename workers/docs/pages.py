"""Which pages are generated, and from what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from workers.docs import configuration, events, lessons, outcomes, picture, reasons, states
from workers.docs.sources import Unworded

__all__ = ["DATABASE_PAGE", "ROOT", "Unworded", "pages", "state_machine_page"]

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASE_PAGE: Final = "docs/state-machine.md"


def pages(root: Path = ROOT) -> dict[str, str]:
    """Path to text of every page that needs no database. Raises `Unworded`."""
    return {
        "docs/configuration.md": configuration.page(root),
        "docs/reasons.md": reasons.page(root),
        "docs/logs.md": events.page(root),
        "docs/lessons.md": lessons.page(root),
        "docs/outcomes.md": outcomes.page(),
        "docs/order-life.svg": picture.draw(),
    }


def state_machine_page() -> str:
    """The page about the transition table, read from a migrated throw-away server."""
    from app.db import embedded
    from app.db.migrate import upgrade

    with embedded.throwaway(fsync=False) as server:
        upgrade(server.url())
        return states.page(asyncio.run(_rows(server.url())))


async def _rows(url: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    from app.db.connect import open_connection

    connection = await open_connection(url, role_hint="documents")
    try:
        return {name: await connection.fetch(query) for name, query in states.QUERIES.items()}
    finally:
        await connection.close()
