"""Bytes of a server on a real socket: how far a request got is told truly, and no header of ours is repeated."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from app.clock import Ports
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.transport import MAX_BODY, Identity, Sent, Timeouts, Transport
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing.bending import damaged
from proof.fuzzing.model import Check, Random, Surroundings, Target, require

SECRET: Final = "c2VjcmV0LWNhbmFyeQ=="  # noqa: S105 - a canary
PASSPHRASE: Final = "passphrase-canary-77"  # noqa: S105 - a canary
_IDENTITY: Final = Identity("main", "0x" + "1" * 40, ApiCredentials("key-id", SECRET, PASSPHRASE))
_QUICK: Final = Timeouts(connect=10_000, write=10_000, read=150, total=10_000)
"""For an answer that never ends."""
_PATIENT: Final = Timeouts(connect=30_000, write=30_000, read=30_000, total=40_000)
"""For all others: a busy machine must not make a good answer late."""
_HEAD: Final = b"\0HEAD\0"
"""Stands where the server writes the head of the request back."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a server writes after a request, and what is known of it."""

    pieces: tuple[bytes, ...]
    closes: bool
    body: bytes | None
    """Of an answer that is right in every way."""
    cut: bool
    """The answer ends before it says that it does."""

    @property
    def ends(self) -> bool:
        """Whoever waits for it comes to an end without looking at a clock."""
        return self.closes or self.body is not None


_PLAIN: Final = Said((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",), True, b"{}", False)


def make(rng: Random) -> Said:
    body = rng.choice(
        (b"{}", b'{"success":true}', b"null", b"", b"x" * rng.randrange(2_000), rng.randbytes(30))
    )
    shape = rng.random()
    if shape < 0.25:
        data = _head(200, [(b"Content-Length", b"%d" % len(body))]) + body
        return Said(_pieces(rng, data), rng.random() < 0.9, body, False)
    if shape < 0.40:
        data = _head(200, [(b"Content-Length", b"%d" % (len(body) + rng.randrange(1, 50)))]) + body
        return Said(_pieces(rng, data), rng.random() < 0.97, None, True)
    if shape < 0.52:
        data = _head(200, [(b"Transfer-Encoding", b"chunked")]) + _chunked(rng, body)
        whole = rng.random() < 0.5
        data = (
            data + b"0\r\n\r\n"
            if whole
            else data + rng.choice((b"", b"5\r\nab", b"0\r\n", b"0\r", b"zz\r\n"))
        )
        return Said(_pieces(rng, data), True, body if whole else None, not whole)
    if shape < 0.64:
        return Said(_pieces(rng, _compressed(rng, body)), True, None, False)
    headers = [(b"Content-Length", b"%d" % len(body))]
    headers += [_odd_header(rng) for _ in range(rng.randrange(1, 4))]
    rng.shuffle(headers)
    status = rng.choice((200, 200, 400, 429, 503, 100, 101, 199, 204, 304, 600, 999, 0))
    data = _head(status, headers) + body
    if rng.random() < 0.5:
        data = damaged(rng, data)
    if rng.random() < 0.15:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + _HEAD + data[at:]
    return Said(_pieces(rng, data), rng.random() < 0.98, None, False)


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 %d Word\r\n" % status + lines + b"\r\n"


def _chunked(rng: Random, body: bytes) -> bytes:
    size = rng.choice((1, 7, 1_000))
    if len(body) // size > 100:
        size = 1_000
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n" % len(part) + part + b"\r\n" for part in parts)


def _compressed(rng: Random, body: bytes) -> bytes:
    name, data = rng.choice(((b"gzip", gzip.compress(body, 1, mtime=0)), (b"deflate", zlib.compress(body)),
        (b"gzip", gzip.compress(b"\0" * 300_000, 1, mtime=0)), (b"br", body), (b"zstd", body), (b"gzip, gzip",
        body), (b"nothing", body), (b"GZIP,identity", body)))  # fmt: skip
    if rng.random() < 0.5:
        data = damaged(rng, data)
    return _head(200, [(b"Content-Encoding", name), (b"Content-Length", b"%d" % len(data))]) + data


def _odd_header(rng: Random) -> tuple[bytes, bytes]:
    name = rng.choice((b"Retry-After", b"Date", b"Content-Length", b"Transfer-Encoding", b"Content-Type",
        b"Connection", b"Set-Cookie", b"X-" + b"a" * 300, b"Poly-RateLimit-Tier", b"", b" X", b"X\xe9", b"X Y",
        b"Location", b"Upgrade", b"Content-Encoding"))  # fmt: skip
    value = rng.choice((b"1", b"-1", b"99999999999999999999", b"chunked", b"text/html", b"close", b"\xff\xfe",
        b"a" * 5_000, b"", b"\0", b"a\r\n folded", b"http://127.0.0.1:1/", b"websocket", b"gzip", b"a" * 70_000,
        b"0x10", b"+5", b"2, 2"))  # fmt: skip
    return name, value


def _pieces(rng: Random, data: bytes) -> tuple[bytes, ...]:
    """One write, or several."""
    if len(data) < 2 or rng.random() < 0.7:
        return (data,)
    at = rng.randrange(1, len(data))
    return data[:at], data[at:]


@contextmanager
def opened(_: Surroundings) -> Iterator[Check]:  # noqa: C901 - a server and its client
    """A server on a loopback address, and the real transport to it."""
    loop = asyncio.new_event_loop()
    ports = Ports.system()
    said: list[Said] = []

    heads: list[bytes] = []
    answered = asyncio.Event()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            await reader.readexactly(2)
            now = said[0]
            for piece in now.pieces:
                writer.write(piece.replace(_HEAD, head))
                await writer.drain()
                await ports.clock.sleep(0)
            if not now.closes:
                await over.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            answered.set()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)

    server = loop.run_until_complete(start())
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    noted: list[tuple[Exchange, Sent]] = []

    def transport(timeouts: Timeouts) -> Transport:
        return Transport(
            url, ports, timeouts=timeouts, record=lambda one, sent: noted.append((one, sent))
        )

    transports = {True: transport(_PATIENT), False: transport(_QUICK)}

    async def ask() -> Exchange:
        answered.clear()
        over.clear()
        exchange = await transports[said[0].ends].request(
            Endpoint.POST_ORDER, body=b"{}", identity=_IDENTITY
        )
        # The connection ends with its input: the next one must find none that is about to.
        over.set()
        if heads:
            await answered.wait()
        await ports.clock.sleep(0)
        return exchange

    def check(given: Said) -> str:
        said[:], noted[:] = [given], []
        heads.clear()
        exchange = loop.run_until_complete(ask())
        judge(given, exchange, asked=bool(heads))
        require(
            len(noted) == 1 and noted[0][0] == exchange,
            "misread",
            "an exchange was not put on record as it was",
        )
        require(
            PASSPHRASE not in repr(noted[0][1]), "secret", "the record of a request holds a header"
        )
        if given.ends and b"set-cookie" in b"".join(given.pieces).lower():
            forgets()
        return f"{exchange.phase.value} {exchange.status // 100}xx"

    def forgets() -> None:
        """Nothing of one answer travels with the next request: it may be another account's."""
        said[:], noted[:] = [_PLAIN], []
        loop.run_until_complete(ask())
        carried = b"\r\ncookie:" in heads[-1].lower()
        loop.run_until_complete(transports[True].aclose())
        transports[True] = transport(_PATIENT)
        require(not carried, "misread", "a request carries what an answer before it set")

    try:
        yield check
    finally:
        for one in transports.values():
            loop.run_until_complete(one.aclose())
        server.close()
        loop.close()


def judge(given: Said, exchange: Exchange, *, asked: bool) -> None:
    """The phase is what happened, and a complete answer has the body that was sent."""
    require(
        not asked or exchange.phase is not Phase.CONNECTING,
        "misread",
        "bytes had left, and it says that none had",
    )
    require(len(exchange.body) <= MAX_BODY + 2**24, "misread", "a body without bound")
    if given.cut:
        require(
            exchange.phase is not Phase.DONE,
            "misread",
            "an answer that was cut was taken for whole",
        )
    if given.body is not None:
        whole = (exchange.phase, exchange.status, exchange.body) == (Phase.DONE, 200, given.body)
        require(
            whole,
            "misread",
            f"a good answer became {exchange.phase} {exchange.status} {exchange.problem[:80]}",
        )
    require(
        all(name == name.lower() for name in exchange.headers),
        "misread",
        "a header's name is not in lower case",
    )
    for secret in (PASSPHRASE, SECRET):
        require(secret not in exchange.problem, "secret", "what broke repeats a secret header")


TARGETS: Final = (Target("wire", make, opened, weight=2.0),)
