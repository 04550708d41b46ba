"""Websockets over the sans-IO protocol of ``websockets``: handshake, frames, keep-alive.

What a channel means is in `channels`; here are only bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import h11
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from app.venue.simulator.channels import Channel
from app.venue.simulator.wire.parsing import READ

_MOST_UNSENT: Final = 8 << 20
"""A client that reads no more is dropped at this many bytes."""

OpenChannel = Callable[[str, Callable[[str], None], Callable[[], None]], Channel | None]


class Socket:
    """One websocket connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_channel: OpenChannel
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._open_channel = open_channel
        self._protocol = ServerProtocol()
        self._text: list[bytes] = []

    async def upgrade(self, head: h11.Request, rest: bytes) -> None:
        """Answer the handshake, then speak until one side ends it."""
        lines = [b"%s %s HTTP/1.1" % (head.method, head.target)]
        lines += [b"%s: %s" % (name, value) for name, value in head.headers.raw_items()]
        self._protocol.receive_data(b"\r\n".join(lines) + b"\r\n\r\n")
        handshake = next((e for e in self._protocol.events_received()), None)
        if not isinstance(handshake, Handshake):
            return
        channel = self._open_channel(handshake.path.partition("?")[0], self._send, self._drop)
        if channel is None:
            self._protocol.send_response(self._protocol.reject(404, "no such channel\n"))
            self._flush()
            return
        self._protocol.send_response(self._protocol.accept(handshake))
        self._flush()
        try:
            await self._speak(channel, rest)
        finally:
            channel.close()

    async def _speak(self, channel: Channel, rest: bytes) -> None:
        data = rest or await self._reader.read(READ)
        while data:
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(channel, event)
            self._flush()
            if self._protocol.close_expected():
                return
            data = await self._reader.read(READ)
        self._protocol.receive_eof()

    def _take(self, channel: Channel, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return
        self._text.append(bytes(frame.data))
        if frame.fin:
            text, self._text = b"".join(self._text), []
            if not channel.receive(text.decode("utf-8", errors="replace")):
                self._protocol.send_close(CloseCode.POLICY_VIOLATION)

    def _send(self, text: str) -> None:
        if self._protocol.state is not State.OPEN:
            return
        self._protocol.send_text(text.encode())
        self._flush()
        if self._writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            self._drop()

    def _drop(self) -> None:
        self._writer.transport.abort()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
            elif self._writer.can_write_eof():
                self._writer.write_eof()
