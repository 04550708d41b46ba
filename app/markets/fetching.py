"""Reading metadata through a port: who carries the request is somebody else's business.

A read is three-valued. `Got` holds the JSON, `Absent` is the service's clear word that there is no
such thing, `Unread` is everything else, and nothing may be concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from app.circuit import ONCE, Held, Retry
from app.clock import Ports
from app.external import SERVES, External, Verdict
from app.external import Got as Served
from app.markets.exact_json import single

GAMMA_MARKETS: Final = "GET /markets/keyset"
GAMMA_EVENTS: Final = "GET /events/keyset"
CLOB_MARKET: Final = "GET /clob-markets/{condition}"

MOST_WAIT_MS: Final = 30_000
_FIRST_PAUSE_MS: Final = 500
_SHORT_MS: Final = 2_000
"""A circuit that is open for no longer is waited for."""

_LONGEST_MS: Final = 60_000
"""Of one request, beyond the transport's own bounds."""

Query: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""A tuple is sent as the same parameter several times."""


class Answer(Protocol):
    """What one request came to. The venue's ``Exchange`` is one."""

    @property
    def phase(self) -> str:
        """``done`` for a complete answer."""
        ...

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def body(self) -> bytes: ...

    @property
    def problem(self) -> str: ...


class Fetch(Protocol):
    """One request, once. Answers for whatever happens on the wire.

    ``endpoint`` is ``METHOD path``; a placeholder in the path is filled from the entry of that name
    in ``query``, which is then no parameter.
    """

    async def __call__(self, endpoint: str, query: Query) -> Answer: ...


Pace: TypeAlias = Callable[[str], int]
"""Asked before each request of an endpoint: 0 (and it is counted), or for how many milliseconds to
wait before asking again.
"""


def unpaced(_endpoint: str) -> int:
    """No limit: for tests and loopback."""
    return 0


@dataclass(frozen=True, slots=True)
class Got:
    value: object


@dataclass(frozen=True, slots=True)
class Absent:
    why: str


@dataclass(frozen=True, slots=True)
class Unread:
    why: str


Read: TypeAlias = Got | Absent | Unread


class Reader:
    """Paced reads with a few tries, under a circuit for each service. Reads may be repeated freely: they change
    nothing. A service that is away is left alone between its probes, and says so: `Unread`, at once.
    """

    def __init__(self, fetch: Fetch, ports: Ports, *, pace: Pace = unpaced, tries: int = 3) -> None:
        self._fetch = fetch
        self._ports = ports
        self._pace = pace
        self._retry = Retry(tries=tries, first_ms=_FIRST_PAUSE_MS * 2, most_ms=MOST_WAIT_MS)
        self._externals: dict[str, External] = {}

    async def json(self, endpoint: str, query: Query) -> Read:
        """The answer's JSON, exact. What may pass by itself is tried again, when the service says if it does."""
        external = self._external(endpoint)
        tried, held, last = 0, 0, list[Answer]()

        async def once() -> Answer:
            last[:] = [await self._fetch(endpoint, query)]
            return last[0]

        while True:
            while wait_ms := self._pace(endpoint):
                await self._ports.clock.sleep(wait_ms / 1000)
            got = await external.call(once, judge=_verdict)
            if isinstance(got, Served):
                return judge(got.value)
            if isinstance(got, Held):
                held += 1
                if held > self._retry.tries or (got.wait_ms > _SHORT_MS and not tried):
                    return Unread(f"{external.name} is left alone for {got.wait_ms} ms")
                await self._ports.clock.sleep(min(got.wait_ms, MOST_WAIT_MS) / 1000)
                continue
            tried += 1
            pause_ms = self._retry.pause_ms(tried, self._ports.rng.uniform)
            if pause_ms is None:
                return judge(last[0]) if last else Unread(got.why)
            await self._ports.clock.sleep(max(pause_ms, _stated_ms(last)) / 1000)

    def _external(self, endpoint: str) -> External:
        service = "gamma" if endpoint in (GAMMA_MARKETS, GAMMA_EVENTS) else "clob"
        if service not in self._externals:
            self._externals[service] = External(
                service, self._ports, retry=ONCE, timeout_ms=_LONGEST_MS
            )
        return self._externals[service]


def _verdict(answer: Answer) -> Verdict:
    """Whether the service serves. A refusal of what was asked is service."""
    if not _may_pass(answer):
        return SERVES
    why = answer.problem or f"status {answer.status}"
    return Verdict(False, why[:300], wait_ms=_stated_ms([answer]))


def _stated_ms(last: list[Answer]) -> int:
    """When the service itself said to come again."""
    asked = last[0].headers.get("retry-after", "") if last else ""
    return min(int(asked[:9]) * 1000, MOST_WAIT_MS) if asked.isascii() and asked.isdigit() else 0


def judge(answer: Answer) -> Read:
    """What a complete answer says. A page of the edge (not JSON) is never the service's word."""
    if answer.phase != "done":
        return Unread(f"{answer.phase}: {answer.problem}"[:300])
    try:
        value = single(answer.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Unread(f"status {answer.status}, not JSON: {error}"[:300])
    if answer.status == 404 and isinstance(value, dict):
        return Absent(f"status 404: {value.get('error', '')}"[:300])
    if answer.status != 200:
        return Unread(f"status {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
    return Got(value)


def _may_pass(answer: Answer) -> bool:
    return answer.phase != "done" or answer.status in (425, 429) or answer.status >= 500
