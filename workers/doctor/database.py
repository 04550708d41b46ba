"""Checks of the ledger's own rows that a start on a real venue depends on.

Server, schema, roles and halts are looked at by the command itself; these need an account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from app.clock import Clock
from workers.doctor.clocks import clock_finding, offset_ms
from workers.doctor.findings import Finding, ok, warn

_SQL: Final = Path(__file__).resolve().parent / "sql"

_WAIT: Final = {
    "RESTARTING": "wait: the matching engine comes back in post-only mode",
    "POST_ONLY": "wait: only post-only orders are taken",
    "CANCEL_ONLY": "wait: only cancels are taken",
    "DISABLED": "wait: nothing is taken",
    "GEOBLOCKED": "trade from an address the venue trades with",
    "CLOSED_ONLY": "ask the venue: the address may only close positions",
    "BANNED": "ask the venue: the address is banned",
    "BAD_CREDENTIALS": "correct API key or clock",
    "ORDER_VERSION": "install a newer release: the venue takes other orders than this one signs",
}


class Reader(Protocol):
    """`LedgerCalls`, as far as it is needed here."""

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look at the database gave."""

    clock: Finding
    account: dict[str, str | None] | None
    """Venue, maker, signer; None: not open."""
    modes: Sequence[dict[str, Any]]
    tokens: Sequence[str]


def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (_SQL / f"{name}.sql").read_text("utf-8")


async def look(reader: Reader, account: str, clock: Clock) -> Facts:
    """Read the facts. Raises `DatabaseProblem`."""
    before = clock.now_ms()
    (row,) = await reader.rows(statement("account"), account)
    after = clock.now_ms()
    offset = offset_ms(before, row["now_ms"], after)
    modes = await reader.rows(statement("modes"), account)
    tokens = await reader.rows(statement("tokens"))
    return Facts(
        clock_finding("clock, database", offset, after - before),
        {name: row[name] for name in ("venue", "maker", "signer")} if row["venue"] else None,
        modes,
        [one["token_id"] for one in tokens],
    )


def check_modes(modes: Sequence[dict[str, Any]]) -> Finding:
    """What the workers have seen of the venue's condition and what has not ended."""
    if not modes:
        return ok("venue mode", "normal")
    seen = "; ".join(_one(mode) for mode in modes)
    steps = dict.fromkeys(_WAIT.get(mode["mode"], "wait, or look at the worker") for mode in modes)
    return warn("venue mode", seen, "; ".join(steps))


def _one(mode: dict[str, Any]) -> str:
    ends = "" if mode["ends_in_s"] is None else f", ends in {mode['ends_in_s']} s"
    return f"{mode['mode']} for {mode['for_s']} s{ends}"
