"""``ledger-worker markets sync``: reads markets from the venue and stores them as the import does.

What changed is told, and what turned is stopped, in the same way as by the refresher: a person who
runs this by hand must not undo by accident what it would have halted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from app.clock import Ports
from app.config import Settings
from app.ledger.calls import LedgerCalls
from app.markets.changes import plan
from app.markets.fetching import Answer, Fetch, Query, Reader
from app.markets.sync import SyncReport, Wanted, sync_markets
from app.observe.logs import Logger, get_logger
from app.venue.polymarket.limits import EdgeWindows
from app.venue.polymarket.transport import Timeouts, Transport
from app.venue.polymarket.wire import Endpoint
from workers.market_store import Stored, carry_out, stored_markets

_PLACE: Final = re.compile(r"\{(\w+)\}")
Request: TypeAlias = Callable[..., Awaitable[Answer]]
"""`Transport.request`."""


async def sync_and_store(
    calls: LedgerCalls, reader: Reader, ports: Ports, wanted: Wanted, log: Logger
) -> dict[str, Any]:
    """Read, compare, store. The answer is the command's summary; ``ok`` is False where the listing
    was not read to its end, and then what was read is stored all the same.
    """
    report = await sync_markets(reader, ports, wanted)
    shown = [*report.markets, *report.unconfirmed]
    stored = await stored_markets(calls, [one.condition_id for one in shown])
    known = {one.condition_id for one in stored}
    # terms that rest on a cache alone say something of a new market and nothing of a stored one
    fresh = [*report.markets, *(one for one in report.unconfirmed if one.condition_id not in known)]
    done = await carry_out(calls, plan(stored, fresh), log)
    return summary(report, done)


def summary(report: SyncReport, done: Stored) -> dict[str, Any]:
    """For ``--json`` and for the sentence that a person reads."""
    shown = [*report.markets, *report.unconfirmed]
    reasons = Counter(reason for one in shown for reason in one.untradable_reasons)
    return {
        "ok": not report.why,
        "state": report.state.value,
        "why": list(report.why),
        "markets": len(shown),
        "tradable": sum(one.tradable for one in shown),
        "unconfirmed": len(report.unconfirmed),
        "created": done.created,
        "updated": done.updated,
        "unchanged": len(shown) - done.created - done.updated,
        "halted": done.halted,
        "cancels": done.cancels,
        "objects_seen": report.objects_seen,
        "duplicates": report.duplicates,
        "unreadable": [{"where": one.where, "reason": one.reason} for one in report.unreadable],
        "pages": report.pages,
        "untradable_reasons": dict(reasons.most_common()),
    }


async def sync_from_venue(
    calls: LedgerCalls, settings: Settings, ports: Ports, wanted: Wanted
) -> dict[str, Any]:
    """The same over real connections to the addresses of the settings. What the command calls."""
    timeouts = Timeouts(total=settings.request_timeout_ms)
    ca_file = settings.polymarket_ca_file
    gamma, clob = (
        Transport(url, ports, timeouts=timeouts, ca_file=ca_file)
        for url in (settings.polymarket_gamma_url, settings.polymarket_clob_url)
    )
    try:
        reader = venue_reader(gamma.request, clob.request, ports)
        return await sync_and_store(calls, reader, ports, wanted, get_logger("markets"))
    finally:
        await gamma.aclose()
        await clob.aclose()


def venue_reader(gamma: Request, clob: Request, ports: Ports, *, tries: int = 3) -> Reader:
    """A reader that keeps to the edge's windows (docs/venue.md 9.3)."""
    windows = EdgeWindows(ports.clock)
    return Reader(
        fetch_over(gamma, clob),
        ports,
        pace=lambda endpoint: windows.wait_ms(Endpoint(endpoint)),
        tries=tries,
    )


def fetch_over(gamma: Request, clob: Request) -> Fetch:
    """The port of ``app.markets`` over two transports, by which service serves the endpoint."""

    async def fetch(endpoint: str, query: Query) -> Answer:
        known = Endpoint(endpoint)
        path, rest = _filled(known.path, query)
        of_gamma = known in (Endpoint.GET_GAMMA_MARKETS, Endpoint.GET_GAMMA_EVENTS)
        request = gamma if of_gamma else clob
        return await request(known, path=path, query=rest)

    return fetch


def _filled(path: str, query: Query) -> tuple[str, Mapping[str, str | tuple[str, ...]]]:
    """The path with its placeholders filled, and what is left of the query. The values were read
    strictly (hex or digits), so that none of them can leave its place in the path.
    """
    names = _PLACE.findall(path)
    for name in names:
        value = query[name]
        if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
            raise ValueError(f"no {name} for a path: {value!r}")
        path = path.replace(f"{{{name}}}", value)
    return path, {name: value for name, value in query.items() if name not in names}
