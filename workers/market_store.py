"""Between the pure comparison of markets and the ledger: what is stored, and carrying out a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.ledger.calls import LedgerCalls
from app.markets.changes import Change, ChangeKind, Plan, StoredMarket
from app.markets.model import MarketRecord, rows_of
from app.observe.logs import Logger
from workers.statements import statement

_MOST_ROWS: Final = 500
"""Rows of one import, which is one commit."""

_MOST_SWEEPS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What carrying out a plan wrote."""

    created: int = 0
    updated: int = 0
    halted: int = 0
    cancels: int = 0


async def stored_markets(
    calls: LedgerCalls, condition_ids: Iterable[str] | None = None
) -> list[StoredMarket]:
    """Those named, or all that may still matter (see ``sql/stored_markets.sql``)."""
    names = None if condition_ids is None else list(condition_ids)
    rows = await calls.rows(statement("stored_markets"), names)
    return [stored_market(row) for row in rows]


def stored_market(row: Mapping[str, Any]) -> StoredMarket:
    """A row of ``sql/stored_markets.sql``."""
    fields = {name: row[name] for name in StoredMarket.__dataclass_fields__ if name in row}
    fields["untradable_reasons"] = tuple(row["untradable_reasons"])
    fields["outcomes"] = tuple(zip(row["indexes"], row["labels"], row["tokens"], strict=True))
    return StoredMarket(**fields)


async def carry_out(calls: LedgerCalls, plan: Plan, log: Logger) -> Stored:
    """Halt what turned, ask for the cancels, then write the rows. Safe to repeat after a crash at any
    point: until the rows are written the same plan comes out of the next comparison.
    """
    tell(plan.changes, log)
    halted = await _halt(calls, plan.halt, log)
    cancels = await _sweep(calls) if halted else 0
    created = updated = 0
    for at in range(0, len(plan.store), _MOST_ROWS):
        part: list[MarketRecord] = list(plan.store[at : at + _MOST_ROWS])
        done = await calls.value("import_markets", rows_of(part))
        created += done["created"]
        updated += done["updated"]
    return Stored(created, updated, halted, cancels)


def tell(changes: Mapping[str, tuple[Change, ...]], log: Logger) -> None:
    """One line for each change, as loud as it is grave."""
    for condition, found in changes.items():
        for change in found:
            before, after = str(change.before)[:200], str(change.after)[:200]
            told = {"market": condition, "what": change.kind, "before": before, "after": after}
            if change.kind is ChangeKind.NEG_RISK_ON:
                log.error("NEG_RISK_TURNED_ON", market=condition, before=before, after=after)
            elif change.severity == "error":
                log.error("MARKET_CHANGED", **told)
            elif change.severity == "warning":
                log.warning("MARKET_CHANGED", **told)
            else:
                log.info("MARKET_CHANGED", **told)


async def _halt(calls: LedgerCalls, halts: Mapping[str, str], log: Logger) -> int:
    """A durable halt for each market, ended by a person; the sweep of cancels follows it, whoever runs
    it, until no order of the market is left.
    """
    if not halts:
        return 0
    rows = await calls.rows(statement("standing_market_halts"), list(halts), "NEG_RISK_ON")
    standing = {row["condition_id"] for row in rows}
    for condition, why in halts.items():
        if condition not in standing:
            version = await calls.value("set_halt", "market", condition, why, "refresher")
            log.error("MARKET_HALTED", market=condition, why=why, version=version)
    return len(halts.keys() - standing)


async def _sweep(calls: LedgerCalls) -> int:
    """Ask for every cancel that the halts call for, at once and not only at the sweeper's next pass."""
    asked = 0
    for _ in range(_MOST_SWEEPS):
        found = await calls.value("sweep_cancels")
        asked += found
        if not found:
            break
    return asked
