"""Reading metadata through a port: who carries the request is somebody else's business.

A read is three-valued. `Got` holds the JSON, `Absent` is the service's clear word that there is no
such thing, `Unread` is everything else, and nothing may be concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from app.clock import Ports
from app.markets.exact_json import single

GAMMA_MARKETS: Final = "GET /markets/keyset"
GAMMA_EVENTS: Final = "GET /events/keyset"
CLOB_MARKET: Final = "GET /clob-markets/{condition}"

MOST_WAIT_MS: Final = 30_000
_FIRST_PAUSE_MS: Final = 500

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
    """Paced reads with a few tries. Reads may be repeated freely: they change nothing."""

    def __init__(self, fetch: Fetch, ports: Ports, *, pace: Pace = unpaced, tries: int = 3) -> None:
        self._fetch = fetch
        self._ports = ports
        self._pace = pace
        self._tries = tries

    async def json(self, endpoint: str, query: Query) -> Read:
        """The answer's JSON, exact. What may pass by itself is tried again."""
        tried = 0
        while True:
            while wait_ms := self._pace(endpoint):
                await self._ports.clock.sleep(wait_ms / 1000)
            answer = await self._fetch(endpoint, query)
            tried += 1
            if tried >= self._tries or not _may_pass(answer):
                return judge(answer)
            await self._ports.clock.sleep(self._pause_ms(answer, tried) / 1000)

    def _pause_ms(self, answer: Answer, tried: int) -> int:
        asked = answer.headers.get("retry-after", "")
        if asked.isascii() and asked.isdigit():
            return min(int(asked[:9]) * 1000, MOST_WAIT_MS)
        base_ms = min(_FIRST_PAUSE_MS << tried, MOST_WAIT_MS)
        return base_ms + int(self._ports.rng.uniform(0, base_ms / 2))


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
