"""Holds the keys a process works with and reads them anew while it runs. The contract is in `app.secrets`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from app.clock import Ports
from app.errors import LedgerError
from app.observe.logs import Logger
from app.secrets.source import SecretSource
from app.secrets.types import SecretSet
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.signing import Signer

REMEMBERED: Final = 16
"""API keys kept for orders that were sent under them. More rotations in one process are a mistake."""

Beside = Callable[[Callable[[], SecretSet]], Awaitable[SecretSet]]
"""Runs something that blocks beside the event loop."""


class Refreshed(StrEnum):
    """What a reading changed."""

    SAME = "same"
    NEW_KEY = "new_key"
    FAILED = "failed"
    """Nothing was read: the keys in hand stay."""
    REFUSED = "refused"
    """The signing key is another one: the keys in hand stay."""


class Keeper:
    """The keys of one account. ``place`` says where they come from."""

    def __init__(
        self,
        source: SecretSource,
        ports: Ports,
        log: Logger,
        *,
        refresh_s: int = 0,
        rotated: Callable[[ApiCredentials], None] | None = None,
        beside: Beside = asyncio.to_thread,
    ) -> None:
        """Reads at once, so it blocks; raises `BadInput` with ``BAD_SETTING`` if there are no keys.

        ``rotated`` is told of each new API key, at once, and must not wait.
        """
        self._source = source
        self._ports = ports
        self._log = log
        self._refresh_s = refresh_s
        self._rotated = rotated
        self._beside = beside
        self._asked = asyncio.Event()
        self._reading = asyncio.Lock()
        self._known: dict[str, ApiCredentials] = {}
        self._now = source.read()
        self._remember(self._now)

    @property
    def place(self) -> str:
        return self._source.place

    @property
    def signer(self) -> Signer:
        """The same for as long as the process lives."""
        return self._now.current.signer

    @property
    def has_api_key(self) -> bool:
        return self._now.current.has_api_key

    @property
    def credentials(self) -> ApiCredentials:
        """For what is sent and asked from now on. Take them anew for each request."""
        return self._now.current.credentials

    def credentials_of(self, key_id: str) -> ApiCredentials | None:
        """The API key of this id, for an order that was sent under it; None if nobody knows it any more."""
        return self._known.get(key_id)

    def refresh_soon(self) -> None:
        """Have `run` read now. For a signal handler of the event loop (SIGHUP)."""
        self._asked.set()

    async def refresh(self) -> Refreshed:
        """Read anew now. Never raises for what the source does."""
        async with self._reading:
            try:
                found = await self._beside(self._source.read)
            except LedgerError as error:
                self._log.warning(
                    "SECRETS_NOT_READ", place=self.place, code=error.code, problem=error.wrong
                )
                return Refreshed.FAILED
            return self._take(found)

    async def run(self, stopping: asyncio.Event) -> None:
        """Read at each interval and whenever asked, until ``stopping``."""
        while not stopping.is_set():
            await self._pause(stopping)
            if stopping.is_set():
                return
            self._asked.clear()
            await self.refresh()

    def _take(self, found: SecretSet) -> Refreshed:
        if found.current.signer.address != self.signer.address:
            self._log.error(
                "SECRETS_REFUSED",
                place=self.place,
                problem="the signing key is another one: that is another account, and needs a restart",
            )
            return Refreshed.REFUSED
        before = self._now.current.credentials.key_id if self.has_api_key else ""
        if before and not found.current.has_api_key:
            self._log.error(
                "SECRETS_REFUSED", place=self.place, problem="the API key is gone from the secret"
            )
            return Refreshed.REFUSED
        self._now = found
        self._remember(found)
        after = found.current.credentials.key_id if found.current.has_api_key else ""
        if after == before:
            return Refreshed.SAME
        self._log.info("SECRETS_ROTATED", place=self.place, api_key=after, before=before)
        if self._rotated is not None:
            self._rotated(found.current.credentials)
        return Refreshed.NEW_KEY

    def _remember(self, found: SecretSet) -> None:
        """Last used last, so that what is forgotten first is what was used longest ago."""
        for credentials in (
            found.previous,
            found.current.credentials if found.current.has_api_key else None,
        ):
            if credentials is not None:
                self._known.pop(credentials.key_id, None)
                self._known[credentials.key_id] = credentials
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    async def _pause(self, stopping: asyncio.Event) -> None:
        """Until the interval is over, or asked, or stopping."""
        waits = [
            self._ports.tasks.spawn(self._asked.wait(), name="secrets asked"),
            self._ports.tasks.spawn(stopping.wait(), name="secrets stop"),
        ]
        if self._refresh_s:
            waits.append(
                self._ports.tasks.spawn(
                    self._ports.clock.sleep(self._refresh_s), name="secrets interval"
                )
            )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
