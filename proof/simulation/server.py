"""Throw-away databases of the simulator: one server in memory, one database for each process of the campaign."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from app.db.embedded.config import ADMIN_ROLE, PORT
from tests.support.database import migrated_template, refuse_foreign
from tests.support.servers import TestServer, find_server

PREFIX: Final = "ledger_test_simulation_"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a session goes; nobody asks it for a password."""

    folder: str
    port: int
    database: str
    user: str


@contextmanager
def databases(count: int) -> Iterator[list[Address]]:
    """So many migrated databases, gone afterwards with their server."""
    with (
        find_server() as server,
        migrated_template(server) as template,
        cloned(server, template, count) as addresses,
    ):
        yield addresses


@contextmanager
def cloned(server: TestServer, template: str, count: int) -> Iterator[list[Address]]:
    """Databases on a server that is there. It must be an embedded one: its owner comes in by ``peer``."""
    if server.embedded is None:
        raise ValueError("the simulator needs the embedded server: unset LEDGER_TEST_DATABASE_URL")
    folder = str(server.embedded.config.socket_dir)
    made = [Address(folder, PORT, f"{PREFIX}{n}", ADMIN_ROLE) for n in range(count)]
    for one in made:
        refuse_foreign(one.database)
        server.run(f"CREATE DATABASE {one.database} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield made
    finally:
        for one in made:
            server.run(f"DROP DATABASE IF EXISTS {one.database} WITH (FORCE)")
