"""What the venue says an account owns against our balances, and orders there that no intent explains.

The venue's numbers are a cache of the chain and lag by seconds (polymarket.md 11), so a difference counts only
beyond what our own rows say is on its way, and twice in a row where a worker is running. Nothing here books: what
an account owns changes by facts about orders, or by an entry with a cause from a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.reconcile.compare import Difference, Holding, holding_difference, is_grave
from app.venue.interface import CancelAccepted, Unread
from workers.worker.context import Context


@dataclass(frozen=True, slots=True)
class HoldingsSeen:
    """``unread``: why the venue's view could not be had; then nothing is concluded."""

    differences: tuple[Difference, ...] = ()
    grave: tuple[Difference, ...] = ()
    unread: str = ""


async def look_at_holdings(context: Context, account: str) -> HoldingsSeen:
    """Read, store and compare. Halts nothing."""
    tokens = await context.calls.value("held_tokens", account)
    answer = await context.venue.holdings(account, tokens)
    if answer is None:
        return HoldingsSeen()
    if isinstance(answer, Unread):
        return HoldingsSeen(unread=f"balances: {answer.reason}")
    theirs = answer.value
    rows: list[dict[str, Any]] = await context.calls.value(
        "compare_holdings", account, theirs.collateral_micros, theirs.tokens_micros
    )
    seen = [Holding(row["asset"], row["ours"], row["theirs"], row["unsettled"]) for row in rows]
    return HoldingsSeen(
        tuple(holding_difference(one) for one in seen),
        tuple(holding_difference(one) for one in seen if is_grave(one)),
    )


async def halt_for_holdings(context: Context, account: str, seen: HoldingsSeen) -> None:
    """Halt the account for what is grave, once per finding: a person who resumed knows of it."""
    for one in seen.grave:
        why = f"{one.kind.upper()}: {one.subject}: ours {one.ours}, the venue's {one.theirs}"
        known = await context.calls.rows(
            "SELECT 1 FROM ledger.halt h JOIN ledger.account a ON h.scope_id = a.account_id::text "
            "WHERE h.scope = 'account' AND a.name = $1 AND h.why = $2",
            account,
            why,
        )
        if not known:
            await context.calls.value("set_halt", "account", account, why, "reconcile")


async def cancel_foreign_orders(context: Context, account: str) -> int:
    """Ask the venue to end the orders that no intent explains; how many it took off.

    The account stays halted, and a person still says what became of each (``ledger-worker adopt``).
    """
    rows = await context.calls.rows(
        "SELECT f.venue_order_id FROM ledger.foreign_order f JOIN ledger.account a USING (account_id) "
        "WHERE a.name = $1 AND f.resolved_at IS NULL ORDER BY f.last_seen_at DESC LIMIT 1000",
        account,
    )
    ids = [row["venue_order_id"] for row in rows]
    if not ids:
        return 0
    outcomes = await context.venue.cancel(account, ids)
    return sum(isinstance(outcome, CancelAccepted) for outcome in outcomes)
