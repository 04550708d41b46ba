"""A market channel in memory: sockets that a test opens, feeds, silences and cuts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.books import VenueBook


class Lost(Exception):
    """How this channel says that a connection is gone."""


class FakeSocket:
    """One connection: what was sent over it, and what a test puts into it."""

    def __init__(self, answer: Callable[[FakeSocket, str], None] | None) -> None:
        self.sent: list[str] = []
        self.closed = False
        self._inbox: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._answer = answer

    async def send(self, text: str) -> None:
        if self.closed:
            raise Lost("closed")
        self.sent.append(text)
        if self._answer is not None:
            self._answer(self, text)

    async def receive(self) -> str:
        got = await self._inbox.get()
        if isinstance(got, Exception):
            raise got
        return got

    async def close(self) -> None:
        self.closed = True

    # --- for tests ----------------------------------------------------------------------------

    def say(self, *frames: object) -> None:
        """One message: an array if it holds several frames."""
        self.put(json.dumps(frames[0] if len(frames) == 1 else list(frames)))

    def put(self, text: str) -> None:
        self._inbox.put_nowait(text)

    def cut(self, why: str = "cut") -> None:
        self._inbox.put_nowait(Lost(why))

    def fail(self, error: Exception) -> None:
        self._inbox.put_nowait(error)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The subscriptions sent, without the pings."""
        return [json.loads(text) for text in self.sent if text != "PING"]


@dataclass
class Channel:
    """Answers PING and subscriptions like the venue, as far as a test lets it."""

    books: dict[str, VenueBook] = field(default_factory=dict)
    sockets: list[FakeSocket] = field(default_factory=list)
    refuse: int = 0
    """So many attempts to connect fail."""
    mute: set[str] = field(default_factory=set)
    """Tokens whose subscription brings no book."""
    pong: bool = True

    async def connect(self, url: str, /) -> FakeSocket:
        assert url == "wss://example.test/ws/market"
        await asyncio.sleep(0)
        if self.refuse:
            self.refuse -= 1
            raise Lost("no connection")
        self.sockets.append(FakeSocket(self._answer))
        return self.sockets[-1]

    @property
    def now(self) -> FakeSocket:
        """The newest connection."""
        return self.sockets[-1]

    def _answer(self, socket: FakeSocket, text: str) -> None:
        if text == "PING":
            if self.pong:
                socket.put("PONG")
            return
        asked = json.loads(text)
        if asked.get("operation") == "unsubscribe":
            return
        told = [one for one in asked["assets_ids"] if one in self.books and one not in self.mute]
        if told:
            socket.put(json.dumps([self.books[one].book() for one in told]))
