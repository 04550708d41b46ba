"""Our own requests to the venue: settable timeouts, raw answers kept, and how far each request got.

The official clients hide what matters here: their timeouts are fixed, a broken connection and a refused one
look alike, and the edge closes a connection about every 10,000 requests in the middle of one (py-sdk 209).
So connections are replaced before that, and the phase of a failure is what the connection itself reported,
never what the error's name suggests. Nothing is retried here: who sends again decides in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import anyio
import httpx

from app.clock import Ports
from app.venue.polymarket.auth import Authenticates
from app.venue.polymarket.authorities import nobody_trusted, trusted
from app.venue.polymarket.watch import MayNotLeave, Watch
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

RECYCLE_AFTER: Final = 4_000
"""Requests per connection pool. The edge's GOAWAY comes at about 10,000 (docs/venue.md 1.4, trap 10)."""

RECYCLE_AFTER_NS: Final = 600_000_000_000
"""And after ten minutes, so that a changed address of the host is found."""

MAX_BODY: Final = 16 * 1024 * 1024
Record = Callable[[Exchange, "Sent"], None]

_UNDER: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What the layer under httpx raises, and httpx does not always translate: the end of a TLS stream in a write."""


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
    """Who asks: the address of the signing key (never the deposit wallet, docs/venue.md 2.3) and its API key."""

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
        self._tls = trusted(ca_file) if self._base_url.startswith("https:") else None
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
        very request over exactly ``body``; the query string is not part of what they sign (docs/venue.md 3.1).
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
        watch = Watch(self._ports.clock, send_by_ns, total_ms or self._timeouts.total)
        started_ns = self._ports.clock.monotonic_ns()
        pool = self._take()
        try:
            exchange = await self._exchange(pool, endpoint, sent, identity, watch)
        except asyncio.CancelledError:
            self._note(Exchange(endpoint, watch.phase(has_head=False), problem="cancelled"), sent)
            raise
        finally:
            pool.under_way -= 1
            self._close_if_idle(pool)
        took_ms = (self._ports.clock.monotonic_ns() - started_ns) // 1_000_000
        exchange = _timed(exchange, took_ms)
        self._note(exchange, sent)
        return exchange

    def _note(self, exchange: Exchange, sent: Sent) -> None:
        if self._record is not None and not exchange.endpoint.answers_secret:
            self._record(exchange, sent)

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
        watch: Watch,
    ) -> Exchange:
        body = bytearray()
        response: httpx.Response | None = None
        try:
            async with watch.limit():
                async with pool.client.stream(
                    sent.method,
                    self._base_url + sent.path + (f"?{sent.query}" if sent.query else ""),
                    content=watch.body(sent.body) if sent.body else None,
                    headers=self._headers(identity, sent),
                    extensions={"trace": watch.saw},
                ) as response:
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > MAX_BODY:
                            return _broken(endpoint, Phase.READING, response, body, "body too long")
                return Exchange(
                    endpoint, Phase.DONE, response.status_code, _lower(response), bytes(body)
                )
        except MayNotLeave as error:
            return Exchange(endpoint, watch.phase(has_head=False), problem=str(error))
        except TimeoutError:
            phase = watch.phase(has_head=response is not None)
            return _broken(endpoint, phase, response, body, watch.timed_out())
        except httpx.LocalProtocolError:
            # Its text may quote a header, and headers hold secrets.
            phase = watch.phase(has_head=response is not None)
            return _broken(endpoint, phase, response, body, "LocalProtocolError")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, *_UNDER) as error:
            phase = watch.phase(has_head=response is not None)
            problem = f"{type(error).__name__}: {error}"[:300]
            return _broken(endpoint, phase, response, body, problem)

    def _headers(self, identity: Identity | None, sent: Sent) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if sent.body:
            headers["content-type"] = "application/json"
            # Said, so that the body goes as it is: its pieces are handed over one by one, not chunked.
            headers["content-length"] = str(len(sent.body))
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
            verify=self._tls if self._tls is not None else nobody_trusted(),
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
            cookies=_no_cookies(),
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


def _no_cookies() -> CookieJar:
    """A jar that takes nothing: what one answer sets must not travel with the next request of another account."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


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
