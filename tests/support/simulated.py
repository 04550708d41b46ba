"""The real SQL behind the simulation's seam, on a clone of the session's template."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proof.simulation.actors import be_silent
from proof.simulation.postgres import PostgresStore
from proof.simulation.server import Address, cloned
from proof.simulation.stage import furnish
from tests.support.servers import TestServer


@contextmanager
def simulated(server: TestServer, template: str) -> Iterator[tuple[PostgresStore, Address]]:
    """A furnished store, and where its database is."""
    if server.embedded is None:
        pytest.skip("the simulator's driver has no passwords: it needs the embedded server")
    be_silent()
    with cloned(server, template, 1) as [address]:
        store = PostgresStore(address.folder, address.port, address.database, address.user)
        try:
            furnish(store)
            yield store, address
        finally:
            store.close()
