"""What the venue says an account owns against our balances, and orders there that no intent explains.

The venue's numbers are a cache of the chain and lag by seconds (docs/venue.md 11), so a difference counts only
beyond what our own rows say is on its way, after the venue was asked to look anew, and twice in a row where a
worker is running. Each token is a request, and tokens that lost stay in a wallet until a person books them: so
what is at rest is asked for seldom, and a comparison of a running worker asks for a part.

Nothing here books: what an account owns changes by facts about orders, or by an entry with a cause from a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.reconcile.compare import Difference, DriftClass
from app.reconcile.holdings import Holding, compare_holdings
from app.venue.interface import (
    COLLATERAL,
    CancelAccepted,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    Unread,
)
from workers.statements import statement
from workers.worker.context import Context

AT_ONCE: Final = 100
ASKED_ANEW: Final = 20
"""Assets of one comparison that the venue is asked to look up on the chain: that endpoint is a narrow one."""

CHUNK: Final = 90
"""Tokens that are read before they are compared: about ten seconds at the pace of that endpoint, so that what was
read is compared while it still holds, with collateral that is as young."""

MOST_ASKED: Final = 90
"""Of one comparison of a running worker; the next goes on where it stopped."""

LONGEST_MS: Final = 300_000
"""Of a whole look, such as a start's: what it does not come to is left to the comparisons that follow. Well within the
time for which what our rows have just heard counts as on its way."""

AT_REST_S: Final = 86_400.0
"""How often a token is asked for whose market is over and that was the same on both sides."""

TRIES: Final = 3
LONGEST_WAIT_MS: Final = 5_000
"""A cancel of a foreign order that is put off is tried again so soon and so often; then by the next comparison."""

_HASH: Final = re.compile(r"0x[0-9a-f]{64}")

Said = tuple[str, str, Mapping[str, Any]]
"""Subject, what was done, evidence."""


@dataclass(frozen=True, slots=True)
class HoldingsSeen:
    """``unread``: why the venue's view could not be had; then nothing is concluded."""

    differences: tuple[Difference, ...] = ()
    unread: str = ""


async def look_at_holdings(context: Context, account: str, *, whole: bool = True) -> HoldingsSeen:
    """Read, store and compare: what our rows hold, and what the wallet is listed with besides. Halts nothing.

    ``whole``: every token that is due, not only as many as a running worker has time for.
    """
    listed = await context.host.listed_tokens(account)
    if isinstance(listed, Unread):
        return HoldingsSeen(unread=f"positions: {listed.reason}")
    rows = await context.calls.rows(
        statement("holdings_due"), account, list(listed.value), AT_REST_S
    )
    due = [row["asset"] for row in rows]
    seen = await _compared(context, account, due if whole else due[:MOST_ASKED])
    return await look_closer(context, account, seen) if seen.differences else seen


async def look_closer(context: Context, account: str, seen: HoldingsSeen) -> HoldingsSeen:
    """What differed, once more, after the venue was asked to look at the chain."""
    differing = sorted((one.subject for one in seen.differences), key=lambda one: one != COLLATERAL)
    await context.venue.look_anew(account, differing[:ASKED_ANEW])
    return await _compared(context, account, [one for one in differing if one != COLLATERAL])


async def _compared(context: Context, account: str, tokens: Sequence[str]) -> HoldingsSeen:
    """Chunk by chunk. Of collateral, which is in each, the last word counts."""
    started_ns, found = context.ports.clock.monotonic_ns(), dict[str, Difference]()
    for start in range(0, max(len(tokens), 1), CHUNK):
        if context.elapsed_ms(started_ns) > LONGEST_MS:
            break
        answer = await context.venue.holdings(account, tokens[start : start + CHUNK])
        if answer is None:
            return HoldingsSeen()
        if isinstance(answer, Unread):
            return HoldingsSeen(unread=f"balances: {answer.reason}")
        theirs = answer.value
        rows: list[dict[str, Any]] = await context.calls.value(
            "record_holdings", account, theirs.collateral_micros, theirs.tokens_micros
        )
        found.pop(COLLATERAL, None)
        found |= {one.subject: one for one in compare_holdings(Holding(**row) for row in rows)}
    return HoldingsSeen(tuple(found[subject] for subject in sorted(found)))


async def halt_for_holdings(context: Context, account: str, seen: HoldingsSeen) -> list[Said]:
    """Halt the account for what is grave, and say what was done about each: not again while a halt of the kind
    stands, nor for the same numbers once a person who knew them has resumed, as long as they last.
    """
    return [await _act(context, account, one) for one in seen.differences]


async def _act(context: Context, account: str, one: Difference) -> Said:
    if one.drift_class is not DriftClass.HALT:
        action = "nothing: a person books it with its cause (ledger-worker balances book)"
        return one.subject, action, {}
    kind = one.kind.upper()
    why = f"{kind}: {one.subject}: ours {one.ours}, the venue's {one.theirs}"
    known = await context.calls.rows(statement("account_halts"), account, kind, one.subject)
    standing = next((row["halt_id"] for row in known if row["stands"]), None)
    if standing is not None:
        return one.subject, f"the account is halted, version {standing}", {"halt": standing}
    # Once both sides have agreed, the same numbers are another event, which no person has looked at.
    same = [row["halt_id"] for row in known if row["why"] == why and not row["agreed_since"]]
    resumed = same[0] if same else None
    if resumed is not None:
        action = f"nothing: a person resumed version {resumed}, which told the same numbers"
        return one.subject, action, {"halt": resumed}
    version = await context.calls.value("set_halt", "account", account, why, "reconcile")
    return one.subject, f"the account was halted, version {version}", {"halt": version}


async def cancel_foreign_orders(context: Context, account: str) -> dict[str, str]:
    """Ask the venue to end the orders that no intent explains; what it said of each.

    The account stays halted, and a person still says what became of each (``ledger-worker adopt``).
    """
    rows = await context.calls.rows(statement("foreign_to_end"), account)
    said: dict[str, str] = {}
    for ids in _requests([row["venue_order_id"] for row in rows]):
        for _ in range(TRIES):
            outcomes = await context.venue.cancel(account, ids)
            said |= {one: _words(outcome) for one, outcome in zip(ids, outcomes, strict=True)}
            put_off = [one for one in outcomes if isinstance(one, CancelNotSent)]
            if not put_off or put_off[0].refused or put_off[0].retry_after_ms > LONGEST_WAIT_MS:
                break
            await context.ports.clock.sleep(put_off[0].retry_after_ms / 1000)
    if said:
        counts = {word: list(said.values()).count(word) for word in sorted(set(said.values()))}
        context.named("reconciler").warning(
            "FOREIGN_ORDERS_CANCELLED", account=account, count=len(said), outcomes=counts
        )
    return said


def _words(outcome: CancelOutcome) -> str:
    match outcome:
        case CancelAccepted():
            return "taken off"
        case CancelRefused(reason=reason):
            return f"refused: {reason}"[:200]
        case CancelNotSent(code=code):
            return f"not sent: {code}"
        case _:
            return "no answer that can be understood"


def _requests(ids: Sequence[str]) -> list[list[str]]:
    """At most a hundred in one, and alone what does not look like an order's hash: the venue calls it invalid,
    and takes nothing of a request that holds an invalid id.
    """
    usual = [one for one in ids if _HASH.fullmatch(one)]
    return [
        *(usual[start : start + AT_ONCE] for start in range(0, len(usual), AT_ONCE)),
        *([one] for one in ids if not _HASH.fullmatch(one)),
    ]
