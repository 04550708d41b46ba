"""How far a request got, through real sockets: the phase that the transport reports is what judges a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.clock import Ports
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.transport import Identity, Sent, Timeouts, Transport
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
PASSPHRASE = "canary-passphrase"
CREDENTIALS = ApiCredentials("key-id", "c2VjcmV0LWNhbmFyeQ==", PASSPHRASE)
IDENTITY = Identity("main", "0x" + "1" * 40, CREDENTIALS)
QUICK = Timeouts(connect=500, write=500, read=300, total=1_000)


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that hands each request's bytes to ``answer``; its address, and the heads it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                await reader.readexactly(length)
                await answer(reader, writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", heads
    finally:
        server.close()


async def whole(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kept: yes\r\n\r\n{}")
    await writer.drain()


async def ask(
    url: str, query: dict[str, str] | None = None
) -> tuple[Exchange, list[tuple[Exchange, Sent]]]:
    noted: list[tuple[Exchange, Sent]] = []
    transport = Transport(
        url,
        Ports.system(),
        timeouts=QUICK,
        record=lambda exchange, sent: noted.append((exchange, sent)),
    )
    try:
        exchange = await transport.request(
            Endpoint.POST_ORDER, body=b'{"a":1}', identity=IDENTITY, query=query
        )
    finally:
        await transport.aclose()
    return exchange, noted


async def test_a_whole_answer_is_done_with_its_status_headers_and_bytes() -> None:
    async with served(whole) as (url, _):
        exchange, _ = await ask(url)
    assert (exchange.phase, exchange.status, exchange.body) == (Phase.DONE, 200, b"{}")
    assert exchange.headers["x-kept"] == "yes"


async def test_nobody_listening_means_that_no_byte_left() -> None:
    async with served(whole) as (url, _):
        pass
    exchange, _ = await ask(url)
    assert exchange.phase is Phase.CONNECTING


async def test_a_connection_that_closes_without_an_answer_may_have_carried_the_request() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.close()

    async with served(close) as (url, _):
        exchange, _ = await ask(url)
    assert exchange.phase is Phase.SENDING


async def test_no_answer_in_time_may_have_carried_the_request() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter, head: bytes) -> None:
        await reader.read()

    async with served(silent) as (url, _):
        exchange, _ = await ask(url)
    assert exchange.phase is Phase.SENDING


async def test_a_body_that_breaks_off_is_reading_and_keeps_what_came() -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"success"')
        await writer.drain()
        writer.close()

    async with served(cut) as (url, _):
        exchange, _ = await ask(url)
    assert (exchange.phase, exchange.status) == (Phase.READING, 200)
    assert exchange.body == b'{"success"'


async def test_a_body_that_does_not_end_ends_with_the_timeout() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n   ")
        await writer.drain()
        await reader.read()

    async with served(stall) as (url, _):
        exchange, _ = await ask(url)
    assert (exchange.phase, exchange.body) == (Phase.READING, b"   ")
    assert exchange.took_ms < 5_000


async def test_headers_are_made_anew_for_each_request_and_never_recorded() -> None:
    async with served(whole) as (url, heads):
        _, noted = await ask(url)
        await ask(url)
    assert all(b"POLY_SIGNATURE" in head.upper() for head in heads)
    assert len(heads) == 2
    for exchange, sent in noted:
        assert PASSPHRASE not in repr(sent) + repr(exchange)
        assert sent.body == b'{"a":1}'


async def test_the_query_is_sent_and_is_not_part_of_what_is_signed() -> None:
    async with served(whole) as (url, heads):
        await ask(url, query={"id": "0xab", "next_cursor": "MA=="})
    assert b"POST /order?id=0xab&next_cursor=MA%3D%3D " in heads[0]
    stamp = _header(heads[0], b"POLY_TIMESTAMP")
    signature = CREDENTIALS.signature(int(stamp), "POST", "/order", b'{"a":1}')
    assert _header(heads[0], b"POLY_SIGNATURE") == signature


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.upper() == name:
            return value.strip().decode()
    pytest.fail(f"no header {name!r}")


async def test_connections_are_replaced_after_so_many_requests_while_others_are_under_way() -> None:
    peers: set[object] = set()
    release = asyncio.Event()

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        peers.add(writer.get_extra_info("peername"))
        if b"slow" in head:
            await release.wait()
        await whole(reader, writer, head)

    async with served(answer) as (url, _):
        transport = Transport(url, Ports.system(), recycle_after=3)
        try:
            slow = asyncio.ensure_future(transport.request(Endpoint.GET_TIME, query={"slow": "1"}))
            for _ in range(8):
                exchange = await transport.request(Endpoint.GET_TIME)
                assert exchange.phase is Phase.DONE
            release.set()
            assert (await slow).phase is Phase.DONE, "the retired connection served its request"
        finally:
            await transport.aclose()
    assert len(peers) >= 4


async def test_cancelling_the_caller_passes_through() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter, head: bytes) -> None:
        await reader.read()

    async with served(silent) as (url, _):
        task = asyncio.ensure_future(ask(url))
        while not task.done():
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_nothing_is_written_once_the_time_to_send_has_passed() -> None:
    async with served(whole) as (url, heads):
        ports = Ports.system()
        transport = Transport(url, ports)
        try:
            late = await transport.request(
                Endpoint.POST_ORDER, body=b"{}", send_by_ns=ports.clock.monotonic_ns() - 1
            )
            in_time = await transport.request(
                Endpoint.POST_ORDER, body=b"{}", send_by_ns=ports.clock.monotonic_ns() + 10**10
            )
        finally:
            await transport.aclose()
    assert (late.phase, late.problem) == (Phase.CONNECTING, "send_by passed")
    assert in_time.phase is Phase.DONE
    assert len(heads) == 1


async def test_a_body_that_the_peer_holds_back_is_given_up_at_the_time_to_send() -> None:
    """Flow control, a full socket, a paused process: none makes a later moment of ``send_by``."""
    release = asyncio.Event()
    big = b"x" * 30_000_000

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=1_024)
    port = server.sockets[0].getsockname()[1]
    ports = Ports.system()
    transport = Transport(f"http://127.0.0.1:{port}", ports)
    try:
        exchange = await transport.request(
            Endpoint.POST_ORDER, body=big, send_by_ns=ports.clock.monotonic_ns() + 300_000_000
        )
    finally:
        release.set()
        await transport.aclose()
        server.close()
    assert (exchange.phase, exchange.problem) == (Phase.SENDING, "send_by passed")
    assert exchange.took_ms < 3_000
