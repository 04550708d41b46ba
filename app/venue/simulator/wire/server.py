"""Listens on loopback and hands each connection to the protocol that it speaks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from app.clock import Ports
from app.errors import BadInput, Code
from app.venue.simulator.wire.http1 import Handle, Http1, Upgrade
from app.venue.simulator.wire.parsing import READ

LOOPBACK: Final = "127.0.0.1"
_H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Sockets = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Upgrade]
Http2 = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Handle, bytes], Awaitable[None]]
Fail = Callable[[BaseException], None]


class Listener:
    """One port. ``sockets`` and ``http2`` are what it can do beside HTTP/1.1."""

    def __init__(
        self,
        handle: Handle,
        ports: Ports,
        fail: Fail,
        *,
        sockets: Sockets | None = None,
        http2: Http2 | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handle = handle
        self._ports = ports
        self._fail = fail
        self._sockets = sockets
        self._http2 = http2
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def open(self, port: int) -> int:
        """Listen; the port that it became (0 asks for a free one)."""
        try:
            self._server = await asyncio.start_server(
                self._serve, LOOPBACK, port, ssl=self._tls, backlog=1024
            )
        except OSError as error:
            raise BadInput(
                Code.BAD_SETTING,
                f"port {port} on {LOOPBACK} cannot be opened ({error.strerror or error})",
                not_done="the simulator was not started",
                next_step="give another port, or 0 for any free one",
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._speak(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client went away, which is its right
        except asyncio.CancelledError:
            # The process ends. Not raised again: a stream server calls that an error in its log.
            writer.transport.abort()
        except Exception as error:
            self._fail(error)
            writer.transport.abort()
            raise
        finally:
            writer.close()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b""
        while self._http2 is not None and len(first) < len(_H2_PREFACE):
            read = await reader.read(READ)
            first += read
            if not read or not _H2_PREFACE.startswith(first[: len(_H2_PREFACE)]):
                break
        if self._http2 is not None and first.startswith(_H2_PREFACE):
            await self._http2(reader, writer, self._handle, first)
            return
        upgrade = self._sockets(reader, writer) if self._sockets is not None else None
        await Http1(reader, writer, self._handle, self._ports.clock, upgrade).run(first)
