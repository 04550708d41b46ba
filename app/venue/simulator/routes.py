"""Which path is which endpoint. An endpoint's name, ``METHOD /path/{id}``, is what faults match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.venue.simulator import (
    data_reads,
    gamma_reads,
    private_reads,
    public_reads,
    reward_reads,
)
from app.venue.simulator.messages import Request, Response
from app.venue.simulator.trading import HANDLERS

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

PublicRead = Callable[["Venue", Request, str], Response]
PrivateRead = Callable[["Venue", private_reads.Asked], Response]

AUTH: Final = frozenset(
    {
        "POST /auth/api-key",
        "GET /auth/derive-api-key",
        "DELETE /auth/api-key",
        "GET /balance-allowance/update",
    }
)
"""Endpoints with a way of their own (`Service`)."""

PRIVATE: Final[dict[str, PrivateRead]] = {
    "GET /data/order/{id}": private_reads.data_order,
    "GET /order/{id}": private_reads.single_order,
    "GET /data/orders": private_reads.data_orders,
    "GET /data/trades": private_reads.data_trades,
    "GET /balance-allowance": private_reads.balance_allowance,
    "GET /auth/api-keys": private_reads.api_keys,
    "GET /auth/ban-status/closed-only": private_reads.closed_only,
    "GET /v1/user/rate-limit-tier": private_reads.rate_limit_tier,
    "GET /notifications": private_reads.notifications,
    "GET /rewards/user": reward_reads.user_rewards,
}

PUBLIC: Final[dict[str, PublicRead]] = {
    "GET /": public_reads.ok,
    "GET /ok": public_reads.ok,
    "GET /time": public_reads.time,
    "GET /version": public_reads.version,
    "GET /api/geoblock": public_reads.geoblock,
    "GET /clob-markets/{id}": public_reads.clob_market,
    "GET /markets-by-token/{id}": public_reads.market_by_token,
    "GET /markets": public_reads.markets,
    "GET /markets/{id}": public_reads.market,
    "GET /book": public_reads.book,
    "POST /books": public_reads.books,
    "GET /tick-size": public_reads.tick_size,
    "GET /tick-size/{id}": public_reads.tick_size,
    "GET /neg-risk": public_reads.neg_risk,
    "GET /fee-rate": public_reads.fee_rate,
    "GET /fee-rate/{id}": public_reads.fee_rate,
    "GET /midpoint": public_reads.midpoint,
    "GET /price": public_reads.price,
    "GET /spread": public_reads.spread,
    "GET /last-trade-price": public_reads.last_trade_price,
    "GET /rebates/current": reward_reads.rebates,
    "GET /gamma/markets": gamma_reads.markets,
    "GET /gamma/markets/keyset": gamma_reads.markets_keyset,
    "GET /gamma/markets/{id}": gamma_reads.market,
    "GET /gamma/events": gamma_reads.events,
    "GET /gamma/events/keyset": gamma_reads.events_keyset,
    "GET /data-api/v2/positions": data_reads.positions,
    "GET /data-api/v2/trades": data_reads.trades,
    "GET /relayer/deployed": data_reads.deployed,
}

_ALL: Final[frozenset[str]] = frozenset((*AUTH, *PRIVATE, *PUBLIC, *HANDLERS))


@dataclass(frozen=True, slots=True)
class Route:
    endpoint: str
    arg: str = ""


def find_route(method: str, path: str) -> Route | None:
    """The endpoint of a path; its last part may be what stands in the placeholder."""
    trimmed = path.rstrip("/") or "/"
    exact = f"{method} {trimmed}"
    if exact in _ALL:
        return Route(exact)
    before, _, last = trimmed.rpartition("/")
    pattern = f"{method} {before}/{{id}}"
    return Route(pattern, last) if pattern in _ALL and last else None
