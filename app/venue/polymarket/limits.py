"""How fast the venue may be asked: the signer's buckets by tier, and the edge's windows per address.

Source: polymarket.md 9.3 and 9.4. The signer's buckets answer 429 and are shared by every worker of the
signer, so they live in the database behind `Budget`. The edge's windows are per IP address, far wider, and
delay instead of refusing; each process keeps to a share of them by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from app.clock import Clock
from app.venue.polymarket.wire import Endpoint

Kind = Literal["orders", "cancels"]


@dataclass(frozen=True, slots=True)
class Tier:
    """Tokens per second and burst, for orders and for cancels."""

    name: str
    orders_per_s: int
    orders_burst: int
    cancels_per_s: int
    cancels_burst: int

    def rate(self, kind: Kind) -> tuple[int, int]:
        """Per second, burst."""
        if kind == "orders":
            return self.orders_per_s, self.orders_burst
        return self.cancels_per_s, self.cancels_burst


TIERS: Final = {
    tier.name.lower(): tier
    for tier in (
        Tier("Standard", 40, 60, 80, 120),
        Tier("Copper", 60, 90, 120, 180),
        Tier("Bronze", 80, 120, 160, 240),
        Tier("Silver", 200, 300, 400, 600),
        Tier("Gold", 400, 600, 800, 1200),
        Tier("Platinum", 450, 675, 900, 1350),
        Tier("Diamond", 525, 787, 1050, 1575),
        Tier("Elite", 600, 900, 1200, 1800),
    )
}

STANDARD: Final = TIERS["standard"]
"""Assumed until the venue says otherwise: a tier too low waits, a tier too high is refused."""


def tier_named(name: str) -> Tier:
    """The tier of that name, or `STANDARD` for a name nobody knows."""
    return TIERS.get(name.strip().lower(), STANDARD)


class Budget(Protocol):
    """The signer's buckets, shared by all workers."""

    async def spend(self, signer: str, kind: Kind, count: int, tier: Tier) -> int:
        """Take ``count`` tokens: 0, or in how many milliseconds to ask again. Never waits by itself."""
        ...

    async def pause(self, signer: str, kind: Kind, for_ms: int) -> None:
        """The venue said 429: nothing of this kind before then."""
        ...


_WINDOWS: Final[dict[Endpoint, int]] = {
    Endpoint.POST_ORDER: 5000,
    Endpoint.DELETE_ORDER: 5000,
    Endpoint.POST_ORDERS: 2000,
    Endpoint.DELETE_ORDERS: 2000,
    Endpoint.DELETE_ALL: 250,
    Endpoint.DELETE_MARKET: 1500,
    Endpoint.GET_ORDER: 900,
    Endpoint.GET_ORDERS: 500,
    Endpoint.GET_TRADES: 500,
    Endpoint.GET_BALANCE: 200,
    Endpoint.UPDATE_BALANCE: 50,
    Endpoint.GET_BOOK: 1500,
    Endpoint.GET_POSITIONS: 150,
    Endpoint.GET_GAMMA_MARKETS: 300,
    Endpoint.GET_GAMMA_EVENTS: 500,
}
_WINDOW_NS: Final = 10_000_000_000
_SHARE: Final = 2
"""One half for each process: two workers behind one address are usual, more are for the operator to tell."""


class EdgeWindows:
    """Requests per ten seconds and endpoint, of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: dict[Endpoint, deque[int]] = {}

    def wait_ms(self, endpoint: Endpoint) -> int:
        """0 and counted, or how long until there is room; then nothing is counted."""
        most = _WINDOWS.get(endpoint)
        if most is None:
            return 0
        now_ns = self._clock.monotonic_ns()
        sent = self._sent.setdefault(endpoint, deque())
        while sent and sent[0] <= now_ns - _WINDOW_NS:
            sent.popleft()
        if len(sent) >= most // _SHARE:
            return (sent[0] + _WINDOW_NS - now_ns) // 1_000_000 + 1
        sent.append(now_ns)
        return 0
