"""How fast the venue may be asked: the signer's buckets by tier, and the edge's windows per address.

Source: docs/venue.md 9.3 and 9.4. The signer's buckets answer 429 and are shared by every worker of the
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

    async def owe(self, signer: str, kind: Kind, count: int) -> None:
        """The venue has counted so many more than were asked for: below zero, later requests wait."""
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
_SUSTAINED: Final[dict[Endpoint, int]] = {
    Endpoint.POST_ORDER: 120_000,
    Endpoint.DELETE_ORDER: 120_000,
    Endpoint.POST_ORDERS: 21_000,
    Endpoint.DELETE_ORDERS: 15_000,
    Endpoint.DELETE_ALL: 6_000,
    Endpoint.DELETE_MARKET: 21_000,
}
_BURST_NS: Final = 10_000_000_000
_SUSTAINED_NS: Final = 600_000_000_000
_SLOTS: Final = 100
"""A window is counted in hundredths of its length, so that a full one takes no more room than an empty one."""

_SHARE: Final = 2
"""One half for each process: two workers behind one address are usual, more are for the operator to tell."""


class EdgeWindows:
    """Requests per ten seconds, and per ten minutes, and endpoint, of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[Endpoint, list[_Window]] = {}

    def wait_ms(self, endpoint: Endpoint) -> int:
        """0 and counted, or how long until there is room; then nothing is counted."""
        now_ns = self._clock.monotonic_ns()
        windows = self._windows.get(endpoint)
        if windows is None:
            windows = self._windows[endpoint] = [
                _Window(limits[endpoint] // _SHARE, length_ns)
                for limits, length_ns in ((_WINDOWS, _BURST_NS), (_SUSTAINED, _SUSTAINED_NS))
                if endpoint in limits
            ]
        wait_ns = max((window.wait_ns(now_ns) for window in windows), default=0)
        if wait_ns > 0:
            return wait_ns // 1_000_000 + 1
        for window in windows:
            window.count(now_ns)
        return 0


class _Window:
    """At most ``most`` in any stretch of ``length_ns``."""

    def __init__(self, most: int, length_ns: int) -> None:
        self._most = most
        self._length_ns = length_ns
        self._slot_ns = length_ns // _SLOTS
        self._slots: deque[tuple[int, int]] = deque()
        """Number of a slot, and how many fell into it."""
        self._total = 0

    def wait_ns(self, now_ns: int) -> int:
        """Until there is room for one more; 0 if there is."""
        while self._slots and self._gone_ns() <= now_ns:
            self._total -= self._slots.popleft()[1]
        return self._gone_ns() - now_ns if self._total >= self._most else 0

    def _gone_ns(self) -> int:
        """When the last request of the oldest slot is out of the window, wherever in the slot it was."""
        return (self._slots[0][0] + 1) * self._slot_ns + self._length_ns

    def count(self, now_ns: int) -> None:
        slot, fell = now_ns // self._slot_ns, 0
        if self._slots and self._slots[-1][0] == slot:
            fell = self._slots.pop()[1]
        self._slots.append((slot, fell + 1))
        self._total += 1
