"""A tiny Gamma and CLOB behind the fetch port: pages, objects and faults, all in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.markets.fetching import CLOB_MARKET, GAMMA_EVENTS, Query
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

Fault = Exchange | Callable[[str, Query], Exchange]


def condition(slug: str) -> str:
    return "0x" + hashlib.sha256(slug.encode()).hexdigest()


def token(slug: str, outcome: int) -> str:
    digest = hashlib.sha256(f"{slug}/{outcome}".encode()).hexdigest()
    return str(int(digest, 16) % 10**76 + 10**75)


def gamma_market(slug: str, **changes: object) -> dict[str, Any]:
    """A complete open market; a change to ``...`` takes the field away."""
    whole: dict[str, object] = {
        "conditionId": condition(slug),
        "slug": slug,
        "question": f"{slug}?",
        "outcomes": '["Up", "Down"]',
        "clobTokenIds": json.dumps([token(slug, 0), token(slug, 1)]),
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True},
        "negRisk": False,
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "endDate": "2035-03-01T14:15:00Z",
    } | changes
    return {name: value for name, value in whole.items() if value is not ...}


def clob_market(slug: str, **changes: object) -> dict[str, Any]:
    whole: dict[str, object] = {
        "c": condition(slug),
        "t": [{"t": token(slug, 0), "o": "Up"}, {"t": token(slug, 1), "o": "Down"}],
        "mos": 5,
        "mts": 0.01,
        "mbf": 1000,
        "tbf": 1000,
        "ao": True,
        "fd": {"r": 0.07, "e": 1, "to": True},
    } | changes
    return {name: value for name, value in whole.items() if value is not ...}


def answer(value: object, status: int = 200, endpoint: Endpoint = Endpoint.GET_TIME) -> Exchange:
    return Exchange(endpoint, Phase.DONE, status, body=json.dumps(value).encode())


def broken(phase: Phase = Phase.READING) -> Exchange:
    return Exchange(Endpoint.GET_TIME, phase, problem="the connection broke")


@dataclass
class FakeVenue:
    """Serves its markets page by page. ``faults`` are given out first, by ``METHOD path``."""

    markets: list[dict[str, Any]] = field(default_factory=list)
    clob: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By condition id; a market that is missing here is unknown to the CLOB."""
    page: int = 2
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    under_way: int = 0
    most_under_way: int = 0

    @classmethod
    def of(cls, *slugs: str, **changes: Any) -> FakeVenue:
        venue = cls(**changes)
        for slug in slugs:
            venue.add(slug)
        return venue

    def add(
        self,
        slug: str,
        gamma: Mapping[str, Any] | None = None,
        clob: Mapping[str, Any] | None = None,
    ) -> None:
        """``clob`` may hold ``missing=True``."""
        self.markets.append(gamma_market(slug, **(gamma or {})))
        if not (clob or {}).get("missing"):
            self.clob[condition(slug)] = clob_market(slug, **(clob or {}))

    async def __call__(self, endpoint: str, query: Query) -> Exchange:
        self.asked.append((endpoint, dict(query)))
        waiting = self.faults.get(endpoint)
        fault = waiting.pop(0) if waiting else None
        if fault is not None:
            return fault(endpoint, query) if callable(fault) else fault
        if endpoint == CLOB_MARKET:
            return await self._clob(query)
        return self._listing(endpoint, query)

    async def _clob(self, query: Query) -> Exchange:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await _give_way()
        self.under_way -= 1
        found = self.clob.get(str(query["condition"]))
        return answer({"error": "market not found"}, 404) if found is None else answer(found)

    def _listing(self, endpoint: str, query: Query) -> Exchange:
        chosen = [one for one in self.markets if self._matches(one, query)]
        at = int(str(query.get("after_cursor", "0")))
        limit = min(self.page, int(str(query.get("limit", "20"))))
        page = chosen[at : at + limit]
        if endpoint == GAMMA_EVENTS:
            body: dict[str, Any] = {"events": [{"id": "1", "slug": "event", "markets": page}]}
        else:
            body = {"markets": page}
        if at + limit < len(chosen):
            body["next_cursor"] = str(at + limit)
        return answer(body)

    @staticmethod
    def _matches(market: dict[str, Any], query: Query) -> bool:
        wanted = query.get("condition_ids")
        return str(market.get("closed")).lower() == query.get("closed", "false") and (
            wanted is None or market["conditionId"] in wanted
        )


async def _give_way() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
