"""Our own requests to the venue: settable timeouts, raw answers kept, and how far each request got.

The official clients hide what matters here: their timeouts are fixed, a broken connection and a refused one
look alike, and the edge closes a connection about every 10,000 requests in the middle of one (py-sdk 209).
So connections are replaced before that, and the phase of a failure is what the connection itself reported,
never what the error's name suggests. Nothing is retried here: who sends again decides in the ledger.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from app.clock import Clock, Ports
from app.venue.polymarket.auth import Authenticates
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

RECYCLE_AFTER: Final = 4_000
"""Requests per connection pool. The edge's GOAWAY comes at about 10,000 (polymarket.md 1.4, trap 10)."""

RECYCLE_AFTER_NS: Final = 600_000_000_000
"""And after ten minutes, so that a changed address of the host is found."""

MAX_BODY: Final = 16 * 1024 * 1024
_HEADERS_SENT: Final = ("http11.send_request_headers.started", "http2.send_request_headers.started")
_HEAD_CAME: Final = (
    "http11.receive_response_headers.complete",
    "http2.receive_response_headers.complete",
)

Record = Callable[[Exchange, "Sent"], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In milliseconds. ``total`` bounds the whole request, whatever the phases add up to."""

    connect: int = 3_000
    write: int = 3_000
    read: int = 8_000
    total: int = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What is kept of a request: never its headers, which hold the passphrase."""

    account: str
    method: str
    path: str
    query: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the address of the signing key (never the deposit wallet, polymarket.md 2.3) and its API key."""

    account: str
    address: str
    credentials: Authenticates


class Transport:
    """Requests to one base address. Safe for concurrent use; `aclose` at the end."""

    def __init__(
        self,
        base_url: str,
        ports: Ports,
        *,
        timeouts: Timeouts | None = None,
        ca_file: str | None = None,
        record: Record | None = None,
        recycle_after: int = RECYCLE_AFTER,
    ) -> None:
        """``ca_file``: trust this authority too. ``record`` is told of every exchange, at once, and must not wait."""
        self._base_url = base_url.rstrip("/")
        self._ports = ports
        self._timeouts = timeouts or Timeouts()
        self._tls: ssl.SSLContext | None = None
        if self._base_url.startswith("https:"):
            self._tls = ssl.create_default_context()
            if ca_file:
                self._tls.load_verify_locations(ca_file)
        self._record = record
        self._recycle_after = recycle_after
        self._pool = self._open()
        self._closing: set[asyncio.Task[Any]] = set()

    async def request(
        self,
        endpoint: Endpoint,
        *,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        identity: Identity | None = None,
        total_ms: int | None = None,
        send_by_ns: int = 0,
    ) -> Exchange:
        """One request, once. Answers for whatever happens on the wire; only cancellation passes through.

        ``path`` where the endpoint's has a placeholder. With ``identity``, level-2 headers are made for this
        very request over exactly ``body``; the query string is not part of what they sign (polymarket.md 3.1).
        ``send_by_ns`` (monotonic, 0 for none): when a connection is there only later, nothing is written to it.
        """
        path = endpoint.path if path is None else path
        sent = Sent(
            identity.account if identity else "",
            endpoint.method,
            path,
            str(httpx.QueryParams(dict(query or {}))),
            body,
        )
        watch = _Watch(self._ports.clock, send_by_ns)
        started_ns = self._ports.clock.monotonic_ns()
        pool = self._take()
        try:
            exchange = await self._exchange(pool, endpoint, sent, identity, watch, total_ms)
        finally:
            pool.under_way -= 1
            self._close_if_idle(pool)
        took_ms = (self._ports.clock.monotonic_ns() - started_ns) // 1_000_000
        exchange = _timed(exchange, took_ms)
        if self._record is not None and not endpoint.answers_secret:
            self._record(exchange, sent)
        return exchange

    async def aclose(self) -> None:
        """Close every connection. Requests still under way end with a broken connection."""
        await self._pool.client.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # --- one exchange -------------------------------------------------------------------------------

    async def _exchange(
        self,
        pool: _Pool,
        endpoint: Endpoint,
        sent: Sent,
        identity: Identity | None,
        watch: _Watch,
        total_ms: int | None,
    ) -> Exchange:
        body = bytearray()
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout((total_ms or self._timeouts.total) / 1000):
                async with pool.client.stream(
                    sent.method,
                    self._base_url + sent.path + (f"?{sent.query}" if sent.query else ""),
                    content=sent.body or None,
                    headers=self._headers(identity, sent),
                    extensions={"trace": watch.saw},
                ) as response:
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > MAX_BODY:
                            return _broken(endpoint, Phase.READING, response, body, "body too long")
                if watch.times_sent > 1:
                    # After a GOAWAY that names a lower stream the connection pool sends once more by itself.
                    # The answer is then about a second copy, and may say nothing of the first.
                    return _broken(endpoint, Phase.READING, response, body, "sent twice")
                return Exchange(
                    endpoint, Phase.DONE, response.status_code, _lower(response), bytes(body)
                )
        except _TooLate:
            return Exchange(endpoint, Phase.CONNECTING, problem="send_by passed")
        except TimeoutError:
            return _broken(endpoint, watch.phase(response), response, body, "timeout")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"[:300]
            return _broken(endpoint, watch.phase(response), response, body, problem)

    def _headers(self, identity: Identity | None, sent: Sent) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if sent.body:
            headers["content-type"] = "application/json"
        if identity is not None:
            headers |= identity.credentials.headers(
                address=identity.address,
                timestamp_s=self._ports.clock.now_ms() // 1000,
                method=sent.method,
                path=sent.path,
                body=sent.body,
            )
        return headers

    # --- connections --------------------------------------------------------------------------------

    def _open(self) -> _Pool:
        timeouts = self._timeouts
        client = httpx.AsyncClient(
            http2=self._tls is not None,
            verify=self._tls if self._tls is not None else True,
            timeout=httpx.Timeout(
                connect=timeouts.connect / 1000,
                read=timeouts.read / 1000,
                write=timeouts.write / 1000,
                pool=timeouts.connect / 1000,
            ),
            limits=httpx.Limits(
                max_connections=32, max_keepalive_connections=8, keepalive_expiry=30
            ),
            follow_redirects=False,
            trust_env=False,
        )
        return _Pool(client, self._ports.clock.monotonic_ns())

    def _take(self) -> _Pool:
        """The current connections, or fresh ones where these have served long enough."""
        age_ns = self._ports.clock.monotonic_ns() - self._pool.opened_ns
        if self._pool.requests >= self._recycle_after or age_ns > RECYCLE_AFTER_NS:
            old, self._pool = self._pool, self._open()
            old.retired = True
            self._close_if_idle(old)
        self._pool.requests += 1
        self._pool.under_way += 1
        return self._pool

    def _close_if_idle(self, pool: _Pool) -> None:
        """Retired connections go when their last request has its answer, not before."""
        if not pool.retired or pool.under_way:
            return
        task = self._ports.tasks.spawn(pool.client.aclose(), name="close old connections")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


@dataclass(slots=True, eq=False)
class _Pool:
    client: httpx.AsyncClient
    opened_ns: int
    requests: int = 0
    under_way: int = 0
    retired: bool = False


class _TooLate(Exception):
    """A paused process, a slow budget, a slow connection: whatever it was, nothing leaves now."""


class _Watch:
    """What the connection reports of one request."""

    def __init__(self, clock: Clock, send_by_ns: int) -> None:
        self.times_sent = 0
        self._answering = False
        self._clock = clock
        self._send_by_ns = send_by_ns

    async def saw(self, event: str, _info: Mapping[str, Any]) -> None:
        """Told before the bytes are written: raising here keeps them from it."""
        late = self._send_by_ns and self._clock.monotonic_ns() > self._send_by_ns
        if event in _HEADERS_SENT and late and not self.times_sent:
            raise _TooLate
        self.times_sent += event in _HEADERS_SENT
        self._answering = self._answering or event in _HEAD_CAME

    def phase(self, response: httpx.Response | None) -> Phase:
        if response is not None or self._answering:
            return Phase.READING
        return Phase.SENDING if self.times_sent else Phase.CONNECTING


def _broken(
    endpoint: Endpoint,
    phase: Phase,
    response: httpx.Response | None,
    body: bytearray,
    problem: str,
) -> Exchange:
    if response is None:
        return Exchange(endpoint, phase, problem=problem)
    return Exchange(
        endpoint, phase, response.status_code, _lower(response), bytes(body), problem=problem
    )


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _timed(exchange: Exchange, took_ms: int) -> Exchange:
    return Exchange(
        exchange.endpoint,
        exchange.phase,
        exchange.status,
        exchange.headers,
        exchange.body,
        exchange.problem,
        took_ms,
    )


Request = Callable[..., Awaitable[Exchange]]
