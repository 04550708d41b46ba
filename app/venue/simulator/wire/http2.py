"""HTTP/2 over h2: every stream a request of its own, GOAWAY where a fault or the edge says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from app.clock import Ports
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.messages import Response
from app.venue.simulator.wire.http1 import Handle
from app.venue.simulator.wire.parsing import MAX_BODY, READ, make_request


@dataclass(slots=True)
class _Stream:
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: list[bytes] = field(default_factory=list)
    size: int = 0


class Http2:
    """One connection. ``requests_left``: after so many the edge says GOAWAY (0: never)."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Handle,
        ports: Ports,
        requests_left: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._ports = ports
        self._left = requests_left
        self._conn = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self._streams: dict[int, _Stream] = {}
        self._room = asyncio.Event()
        self._closing = False
        self._answering = 0

    async def run(self, first: bytes) -> None:
        """Until the client or a fault ends it."""
        self._conn.initiate_connection()
        self._flush()
        data = first or await self._reader.read(READ)
        while data and not (self._closing and not self._answering):
            try:
                for event in self._conn.receive_data(data):
                    self._take(event)
            except h2.exceptions.ProtocolError:
                self._flush()
                return
            self._flush()
            data = await self._reader.read(READ)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None and stream.size <= MAX_BODY:
                stream.body.append(event.data)
                stream.size += len(event.data)
            self._conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer_stream(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id, None)
            self._room.set()
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._room.set()

    def _begin(self, event: h2.events.RequestReceived) -> None:
        pairs = [(bytes(name), bytes(value)) for name, value in event.headers]
        special = dict(pair for pair in pairs if pair[0].startswith(b":"))
        plain = [pair for pair in pairs if not pair[0].startswith(b":")]
        method, target = special.get(b":method", b"GET"), special.get(b":path", b"/")
        self._streams[event.stream_id] = _Stream(method.decode(), target.decode(), plain)

    def _answer_stream(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        self._answering += 1
        self._ports.tasks.spawn(self._serve(stream_id, stream), name="simulator http2 stream")

    async def _serve(self, stream_id: int, stream: _Stream) -> None:
        try:
            request = make_request(
                stream.method, stream.target, stream.headers, b"".join(stream.body), "http/2"
            )
            await self._deliver(stream_id, await self._handle(request))
        except (h2.exceptions.ProtocolError, ConnectionError):
            self._writer.transport.abort()  # the stream or the connection went away meanwhile
        finally:
            self._answering -= 1

    async def _deliver(self, stream_id: int, delivery: Delivery) -> None:
        if delivery.head_ms:
            await self._ports.clock.sleep(delivery.head_ms / 1000)
        if delivery.goaway:
            self._goaway(stream_id - 2 if delivery.goaway_before else stream_id)
            self._writer.close()
            return
        if delivery.response is None:
            self._writer.transport.abort()
            return
        await self._respond(stream_id, delivery.response, delivery)
        self._left -= 1
        if self._left == 0:
            self._goaway(stream_id)
            self._closing = True

    async def _respond(self, stream_id: int, response: Response, delivery: Delivery) -> None:
        body = response.body
        headers = [
            (":status", str(response.status)),
            ("content-type", response.content_type),
            ("content-length", str(len(body))),
            *((name.lower(), value) for name, value in response.headers.items()),
        ]
        if delivery.drop_at == 0:
            self._writer.transport.abort()
            return
        self._conn.send_headers(stream_id, headers)
        if delivery.drop_at is not None:
            self._conn.send_data(stream_id, body[: min(delivery.drop_at, len(body) - 1)])
            self._flush()
            await self._writer.drain()
            self._writer.close()
            return
        await self._send_body(stream_id, body, delivery)

    async def _send_body(self, stream_id: int, body: bytes, delivery: Delivery) -> None:
        most = delivery.chunk or self._conn.max_outbound_frame_size
        while body:
            room = min(self._conn.local_flow_control_window(stream_id), most)
            if room <= 0:
                self._room.clear()
                self._flush()
                await self._room.wait()
                continue
            part, body = body[:room], body[room:]
            self._conn.send_data(stream_id, part)
            self._flush()
            if delivery.chunk:
                await self._ports.clock.sleep(delivery.chunk_ms / 1000)
        self._conn.end_stream(stream_id)
        self._flush()
        await self._writer.drain()

    def _goaway(self, last_stream_id: int) -> None:
        self._conn.close_connection(h2.errors.ErrorCodes.NO_ERROR, last_stream_id=last_stream_id)
        self._flush()

    def _flush(self) -> None:
        data = self._conn.data_to_send()
        if data:
            self._writer.write(data)
