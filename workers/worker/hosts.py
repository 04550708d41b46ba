"""Which venue a worker looks after, by its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.clock import Ports
from app.config import Settings
from app.ledger.calls import LedgerCalls
from app.observe.logs import Logger
from app.withdrawal.treasury import Treasury
from workers.worker.context import Host
from workers.worker.paper_host import PaperHost


def open_host(
    settings: Settings, venue_pool: Any, calls: LedgerCalls, ports: Ports, log: Logger, run: str
) -> Host:
    """The host of ``LEDGER_VENUE``. ``venue_pool``: sessions of the paper venue's own. Raises `BadInput`."""
    if settings.venue == "paper":
        return PaperHost(venue_pool, calls, ports, settings)
    # Only where it is wanted: signing, streams and secrets are a second of imports.
    from workers.worker.polymarket_host import PolymarketHost

    return PolymarketHost(calls, ports, settings, log, run)


def keys_of(host: Host) -> Callable[[], None] | None:
    """What reads the host's keys anew (SIGHUP), or None for a host without any: then the signal ends the process."""
    refresh: Callable[[], None] | None = getattr(host, "refresh_keys", None)
    return refresh


def treasury_of(host: Host, account: str) -> Treasury | None:
    """Who carries the account's withdrawals out, or None: then this worker takes none of them up."""
    find: Callable[[str], Treasury | None] | None = getattr(host, "treasury", None)
    return find(account) if find is not None else None
