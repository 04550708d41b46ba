"""All invariants, and the verdict over them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from proof.auditor import books, caps, convergence, fills, identity, keys, sending
from proof.auditor.interface import Asked, VenueBook, Views

Invariant = Callable[[Asked, VenueBook, Views], list[str]]

_ALL: tuple[Invariant, ...] = (
    identity.one_venue_order_per_intent,
    identity.sent_within_intended,
    identity.no_intent_lost,
    keys.keys_are_idempotent,
    convergence.remainder_never_negative,
    convergence.cancel_after_fill_resurrects_nothing,
    convergence.converges_to_the_venue,
    convergence.nothing_unknown_for_ever,
    convergence.anomalies_are_none,
    convergence.every_hold_ends,
    convergence.exposure_is_what_is_held,
    convergence.every_answer_is_known,
    caps.caps_hold_in_shares,
    caps.caps_hold_in_collateral,
    caps.open_orders_within_limits,
    caps.holds_within_holdings,
    fills.every_fill_counted_once,
    fills.sums_of_orders_are_their_fills,
    fills.money_of_fills_moved_once,
    fills.balances_are_what_happened,
    fills.ends_agree_with_fills,
    sending.cancels_leave_at_once,
    sending.what_is_cancelled_ends,
    sending.nothing_unwanted_is_sent,
    sending.halted_admits_nothing,
    books.double_entry,
    books.journal_without_gaps,
    books.journal_follows_states,
    books.second_start_changes_nothing,
)

INVARIANTS: Mapping[str, Invariant] = {holds.__name__: holds for holds in _ALL}


def judge(
    asked: Asked, venue: VenueBook, views: Views, *, without: Collection[str] = ()
) -> list[str]:
    """What is broken, a sentence each that begins with the invariant's name; empty if nothing is.

    ``without`` leaves out invariants by name, for a run that cannot show what they need; the report must say so.
    """
    unknown = set(without) - set(INVARIANTS)
    if unknown:
        raise ValueError(f"no invariants of these names: {sorted(unknown)}")
    return [
        f"{name}: {sentence}"
        for name, holds in INVARIANTS.items()
        if name not in without
        for sentence in holds(asked, venue, views)
    ]
