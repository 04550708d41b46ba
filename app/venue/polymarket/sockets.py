"""Web sockets as the streams need them: connect, send text, receive text, close. Nothing reconnects by itself.

A library that reconnects silently hides the gap, and the venue replays nothing (docs/venue.md 6.5).
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

import websockets
from websockets.asyncio.client import ClientConnection, connect

MAX_FRAME = 8 * 1024 * 1024


class SocketLost(Exception):
    """The connection is gone or was never there; the text says how."""


class Socket(Protocol):
    async def send(self, text: str) -> None:
        """Raises `SocketLost`."""
        ...

    async def receive(self) -> str:
        """The next text frame. Raises `SocketLost`."""
        ...

    async def close(self) -> None:
        """Never raises."""
        ...


Connect = Callable[[str], Awaitable[Socket]]
"""An open connection to a full address, or `SocketLost`."""


class WebSocket:
    """A connection of the ``websockets`` package behind `Socket`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except websockets.ConnectionClosed as error:
            raise SocketLost(f"closed: {error}") from error

    async def receive(self) -> str:
        try:
            frame = await self._connection.recv()
        except websockets.ConnectionClosed as error:
            raise SocketLost(f"closed: {error}") from error
        except websockets.InvalidState as error:
            raise SocketLost(f"closed: {error}") from error
        return frame if isinstance(frame, str) else frame.decode("utf-8", "backslashreplace")

    async def close(self) -> None:
        await self._connection.close()


def connector(*, ca_file: str | None = None, timeout_s: float = 10.0) -> Connect:
    """A `Connect` over real sockets. ``ca_file``: trust this authority too."""

    async def open_socket(url: str) -> Socket:
        tls = None
        if url.startswith("wss:"):
            tls = ssl.create_default_context()
            if ca_file:
                tls.load_verify_locations(ca_file)
        try:
            connection = await connect(
                url,
                ssl=tls,
                open_timeout=timeout_s,
                close_timeout=1,
                # The venue's keep-alive is a text frame of its own; protocol pings would only look alive.
                ping_interval=None,
                max_size=MAX_FRAME,
                proxy=None,
            )
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise SocketLost(f"no connection: {type(error).__name__}: {error}") from error
        return WebSocket(connection)

    return open_socket
