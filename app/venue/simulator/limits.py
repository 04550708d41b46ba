"""Token buckets per signer, as the venue has them (docs/venue.md 9.4).

Two for each signer: one for orders, one for cancels. Tokens are counted in thousandths, so that a
rate of so many a second is that many thousandths a millisecond and nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WHOLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates per second and bursts. ``debt``: a mass cancel may overdraw, later ones wait."""

    orders: int
    order_burst: int
    cancels: int
    cancel_burst: int
    debt: bool = True


TIERS: Final = {
    "standard": Tier(40, 60, 80, 120),
    "copper": Tier(60, 90, 120, 180),
    "bronze": Tier(80, 120, 160, 240),
    "silver": Tier(200, 300, 400, 600),
    "gold": Tier(400, 600, 800, 1200),
    "platinum": Tier(450, 675, 900, 1350, debt=False),
    "diamond": Tier(525, 787, 1050, 1575, debt=False),
    "elite": Tier(600, 900, 1200, 1800, debt=False),
}


@dataclass(slots=True)
class Bucket:
    tokens: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What became of a request's cost, for the headers."""

    taken: bool
    remaining: int
    reset_ms: int
    """When the bucket is full again."""
    wait_ms: int
    """How long until the same request could pass."""
    tier: str

    def headers(self) -> dict[str, str]:
        found = {
            "Poly-RateLimit-Remaining": str(max(0, self.remaining)),
            "Poly-RateLimit-Reset": str(-(-self.reset_ms // 1000)),
            "Poly-RateLimit-Tier": self.tier,
        }
        if not self.taken:
            found["Retry-After"] = str(max(1, -(-self.wait_ms // 1000)))
        return found


class Limits:
    """Every signer's buckets."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def charge(
        self, signer: str, kind: str, tier: str, cost: int, now_ms: int, *, after: bool = False
    ) -> Charge:
        """Take ``cost`` whole tokens, all or none.

        ``after``: the work is done already (a mass cancel learns its cost by doing it), so the
        bucket may fall below zero where the tier allows debt.
        """
        limits = TIERS[tier]
        rate = limits.orders if kind == "orders" else limits.cancels
        burst = (limits.order_burst if kind == "orders" else limits.cancel_burst) * _WHOLE
        bucket = self._buckets.setdefault((signer, kind), Bucket(burst, now_ms))
        bucket.tokens = min(burst, bucket.tokens + (now_ms - bucket.at_ms) * rate)
        bucket.at_ms = now_ms
        need = cost * _WHOLE
        taken = after or bucket.tokens >= need
        if taken:
            floor = bucket.tokens - need if limits.debt or not after else 0
            bucket.tokens = max(floor, bucket.tokens - need)
        full_in, wait = -(-(burst - bucket.tokens) // rate), -(-(need - bucket.tokens) // rate)
        return Charge(taken, bucket.tokens // _WHOLE, now_ms + full_in, max(0, wait), tier)
