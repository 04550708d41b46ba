"""How far one request got, as its connection reports it, and the two ways in which nothing more may leave.

Bytes of an order leave only until its ``send_by``. A connection that comes late, a peer whose flow control
holds the body back, or a process that was paused must not make a later moment of it. And one attempt is one
copy: behind a GOAWAY the connection pool would send the whole request a second time by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from app.clock import Clock
from app.venue.polymarket.wire import Phase

_PROTOCOLS: Final = ("http11", "http2")
_HEADERS: Final = frozenset(f"{one}.send_request_headers.started" for one in _PROTOCOLS)
_BODY: Final = frozenset(f"{one}.send_request_body.started" for one in _PROTOCOLS)
_WRITTEN: Final = frozenset(f"{one}.send_request_body.complete" for one in _PROTOCOLS)
_ANSWERED: Final = frozenset(f"{one}.receive_response_headers.complete" for one in _PROTOCOLS)


class MayNotLeave(Exception):
    """The text says why. What had left before is in `Watch.phase`."""


class Watch:
    """One request. ``send_by_ns`` on the monotonic clock, 0 for none; ``total_ms`` bounds the whole of it."""

    def __init__(self, clock: Clock, send_by_ns: int, total_ms: int) -> None:
        self._clock = clock
        self._send_by_ns = send_by_ns
        self._ends_ns = clock.monotonic_ns() + total_ms * 1_000_000
        self._sent = False
        self._written = False
        self._answering = False
        self._limit: asyncio.Timeout | None = None

    def limit(self) -> asyncio.Timeout:
        """The time that is left: until ``send_by`` while bytes may still leave, then until the end."""
        first_ns = min(self._ends_ns, self._send_by_ns or self._ends_ns)
        self._limit = asyncio.timeout(self._left_s(first_ns))
        return self._limit

    def _left_s(self, until_ns: int) -> float:
        return max(0, until_ns - self._clock.monotonic_ns()) / 1e9

    @property
    def is_late(self) -> bool:
        return bool(self._send_by_ns) and self._clock.monotonic_ns() > self._send_by_ns

    async def saw(self, event: str, _info: Mapping[str, Any]) -> None:
        """Told before bytes are written: raising here keeps them from it."""
        if event in _HEADERS:
            if self._sent:
                raise MayNotLeave("a second copy was due on another connection")
            self._check()
            self._sent = True
        elif event in _BODY:
            self._check()
        elif event in _WRITTEN:
            self._written = True
            if self._limit is not None:
                loop = asyncio.get_running_loop()
                self._limit.reschedule(loop.time() + self._left_s(self._ends_ns))
        elif event in _ANSWERED:
            self._answering = True

    async def body(self, data: bytes) -> AsyncIterator[bytes]:
        """The request's body, unless it is too late for it when the connection asks for it."""
        self._check()
        yield data

    def _check(self) -> None:
        if self.is_late:
            raise MayNotLeave("send_by passed")

    def timed_out(self) -> str:
        return "send_by passed" if self.is_late and not self._written else "timeout"

    def phase(self, *, has_head: bool) -> Phase:
        if has_head or self._answering:
            return Phase.READING
        return Phase.SENDING if self._sent else Phase.CONNECTING
