"""Listens for wake-ups. They only shorten the wait: a poll finds everything, also if no wake-up ever comes."""

from __future__ import annotations

from typing import Any, Final

from app.db.connect import DRIVER_ERRORS, open_connection
from app.errors import LedgerError
from workers.worker.context import Context
from workers.worker.loop import pause

CHECK_MS: Final = 5_000
"""How often the session is asked whether it still lives: a half-open socket would sleep for ever (pg-boss 851)."""


async def listen(context: Context, url: str, channel: str) -> None:
    """Keep one session listening; reconnect when it dies."""
    log = context.named("wake")
    tries = 0
    while not context.shared.stopping.is_set():
        try:
            connection = await open_connection(url, role_hint="wake")
        except LedgerError as problem:
            tries += 1
            log.debug("WAKE_UNAVAILABLE", code=problem.code)
            await pause(context, context.backoff_ms(tries, most_ms=10_000))
            continue
        tries = 0

        def woken(*_: Any) -> None:
            context.shared.cancel_work.set()
            context.shared.work.set()

        try:
            await connection.add_listener(channel, woken)
            while not context.shared.stopping.is_set() and not connection.is_closed():
                await pause(context, CHECK_MS)
                await connection.fetchval("SELECT 1", timeout=CHECK_MS / 1000)
        except DRIVER_ERRORS as error:
            log.debug("WAKE_LOST", problem=type(error).__name__)
        finally:
            connection.terminate()
