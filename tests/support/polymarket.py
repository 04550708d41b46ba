"""Stand-ins for what speaks to Polymarket: an HTTP port and a web socket that answer as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from app.venue.polymarket.sockets import Socket, SocketLost
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

Reply: TypeAlias = Any
"""A JSON value (200), a pair of status and value, an `Exchange`, or a function of the request giving one."""


class FakeHttp:
    """An `Ask`. What it has no reply for was never expected, and says so."""

    def __init__(self, replies: Mapping[Endpoint, Reply] | None = None) -> None:
        self.replies: dict[Endpoint, Reply] = dict(replies or {})
        self.asked: list[tuple[Endpoint, dict[str, Any]]] = []

    async def __call__(self, endpoint: Endpoint, **how: Any) -> Exchange:
        self.asked.append((endpoint, how))
        await asyncio.sleep(0)
        if endpoint not in self.replies:
            return Exchange(endpoint, Phase.CONNECTING, problem="nobody expected this request")
        reply = self.replies[endpoint]
        return exchange(endpoint, reply(how) if callable(reply) else reply)

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for endpoint, _ in self.asked]


def exchange(
    endpoint: Endpoint, reply: Reply, *, headers: Mapping[str, str] | None = None
) -> Exchange:
    """A complete answer, unless the reply is an exchange already."""
    if isinstance(reply, Exchange):
        return reply
    status, value = reply if isinstance(reply, tuple) else (200, reply)
    text = value if isinstance(value, str) else json.dumps(value)
    return Exchange(endpoint, Phase.DONE, status, headers or {}, text.encode(), took_ms=3)


def silent(endpoint: Endpoint) -> Exchange:
    """No answer came."""
    return Exchange(endpoint, Phase.SENDING, problem="timeout")


class FakeSocket:
    """Says its frames one by one, then is silent, or lost if it ends with an exception."""

    def __init__(self, *frames: str | SocketLost) -> None:
        self.frames = list(frames)
        self.sent: list[str] = []
        self.closed = False

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def receive(self) -> str:
        await asyncio.sleep(0)
        if not self.frames:
            await asyncio.Event().wait()
        frame = self.frames.pop(0)
        if isinstance(frame, SocketLost):
            self.frames.append(frame)
            raise frame
        return frame

    async def close(self) -> None:
        self.closed = True


class FakeConnect:
    """A `Connect` that hands out sockets, or is refused."""

    def __init__(self, *frames: str | SocketLost, refused: str = "") -> None:
        self.frames = frames
        self.refused = refused
        self.opened: list[tuple[str, FakeSocket]] = []

    async def __call__(self, url: str) -> Socket:
        if self.refused:
            raise SocketLost(self.refused)
        self.opened.append((url, FakeSocket(*self.frames)))
        return self.opened[-1][1]


class HandClock:
    """Time in a test's hand: sleeping moves it, and nothing waits."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = now_ms
        self.slept_ms = 0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_ns(self) -> int:
        return self.at_ms * 1_000_000

    async def sleep(self, seconds: float) -> None:
        # Give way often enough for whatever is under way to get to its next step.
        for _ in range(8):
            await asyncio.sleep(0)
        self.at_ms += int(seconds * 1000)
        self.slept_ms += int(seconds * 1000)
