"""One server for all targets of a process that need one, and a migrated database for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from tests.support.database import TestDatabase, empty_database, migrated_template
from tests.support.servers import TestServer, find_server


class _Shared:
    """The server, as long as somebody uses it."""

    def __init__(self) -> None:
        self.users = 0
        self.stack = ExitStack()
        self.server: TestServer | None = None
        self.template = ""

    def take(self) -> tuple[TestServer, str]:
        if self.server is None:
            self.server = self.stack.enter_context(find_server())
            self.template = self.stack.enter_context(migrated_template(self.server))
        self.users += 1
        return self.server, self.template

    def give_back(self) -> None:
        self.users -= 1
        if self.users == 0:
            self.server = None
            self.stack.close()
            self.stack = ExitStack()


_SHARED: Final = _Shared()


@contextmanager
def migrated() -> Iterator[TestDatabase]:
    """A database of one's own, in memory where there is room."""
    server, template = _SHARED.take()
    try:
        with empty_database(server, template) as database:
            yield database
    finally:
        _SHARED.give_back()


@contextmanager
def loop_of_ones_own() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()
