"""HTTP/1.1 over h11: one request after another, each answered as its delivery says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import h11

from app.clock import Clock
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.messages import Request, Response
from app.venue.simulator.wire.parsing import MAX_BODY, READ, make_request

Handle = Callable[[Request], Awaitable[Delivery]]
Upgrade = Callable[[h11.Request, bytes], Awaitable[None]]

_EMPTY: Final = b""


class Http1:
    """One connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Handle,
        clock: Clock,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._clock = clock
        self._upgrade = upgrade
        self._bodiless = False
        self._conn = h11.Connection(h11.SERVER, max_incomplete_event_size=READ)

    async def run(self, first: bytes) -> None:
        """Until the client or a fault ends it. ``first``: what was read of it already."""
        try:
            if first:
                self._conn.receive_data(first)
            await self._converse()
        except h11.RemoteProtocolError:
            self._writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async def _converse(self) -> None:
        while True:
            head = await self._next_head()
            if head is None:
                return
            if self._upgrade is not None and _wants_websocket(head):
                await self._upgrade(head, self._conn.trailing_data[0])
                return
            body = await self._body()
            if body is None:
                return
            request = make_request(
                head.method.decode(), head.target.decode(), head.headers, body, "http/1.1"
            )
            self._bodiless = request.method == "HEAD"
            if not await self._deliver(await self._handle(request)):
                return
            if self._conn.our_state is h11.MUST_CLOSE:
                return
            self._conn.start_next_cycle()

    async def _next_head(self) -> h11.Request | None:
        while True:
            event: Any = self._conn.next_event()
            if event is h11.NEED_DATA:
                await self._feed()
            elif isinstance(event, h11.Request):
                return event
            else:
                return None

    async def _feed(self) -> None:
        self._conn.receive_data(await self._reader.read(READ))

    async def _body(self) -> bytes | None:
        parts: list[bytes] = []
        while True:
            event: Any = self._conn.next_event()
            if event is h11.NEED_DATA:
                if self._conn.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._writer.write(self._conn.send(go_on) or _EMPTY)
                await self._feed()
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                if sum(map(len, parts)) > MAX_BODY:
                    return None
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(parts)
            else:
                return None

    async def _deliver(self, delivery: Delivery) -> bool:
        """Write an answer the way it is to travel; whether the connection goes on."""
        if delivery.head_ms:
            await self._clock.sleep(delivery.head_ms / 1000)
        if delivery.response is None or delivery.goaway:
            # what GOAWAY is to HTTP/2 is a close without an answer here
            self._writer.transport.abort()
            return False
        head, body = self._encode(delivery.response)
        if delivery.drop_at is not None:
            self._writer.write((head + body)[: delivery.drop_at])
            if delivery.drop_at:
                await self._writer.drain()
                self._writer.close()
            else:
                self._writer.transport.abort()
            return False
        await self._write(head, body, delivery)
        return True

    async def _write(self, head: bytes, body: bytes, delivery: Delivery) -> None:
        if not delivery.chunk:
            self._writer.write(head + body)
            await self._writer.drain()
            return
        self._writer.write(head)
        for start in range(0, len(body), delivery.chunk):
            self._writer.write(body[start : start + delivery.chunk])
            await self._writer.drain()
            await self._clock.sleep(delivery.chunk_ms / 1000)

    def _encode(self, response: Response) -> tuple[bytes, bytes]:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers.items(),
        ]
        head = self._conn.send(h11.Response(status_code=response.status, headers=headers))
        sent = b"" if self._bodiless else response.body
        body = self._conn.send(h11.Data(data=sent))
        end = self._conn.send(h11.EndOfMessage())
        return head or _EMPTY, (body or _EMPTY) + (end or _EMPTY)


def _wants_websocket(head: h11.Request) -> bool:
    return any(
        name.lower() == b"upgrade" and value.lower() == b"websocket" for name, value in head.headers
    )
