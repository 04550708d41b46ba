"""The model as the simulator's store: what the seam asks, by name of function and text of statement."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import asyncpg

from proof.model import (
    asking,
    cancels,
    evidence,
    facts,
    mutex,
    reserving,
    sending,
    setting_up,
    venue,
    views,
)
from proof.model.tables import ENDED, Tables
from proof.model.values import NotModelled
from proof.simulation.seam import START_US

Function = Callable[..., Any]


def _named(module: Any, names: str) -> dict[str, Function]:
    return {name: getattr(module, name) for name in names.split()}


FUNCTIONS: Final[dict[str, Function]] = (
    _named(reserving, "reserve_pending replace_order")
    | _named(mutex, "take_mutex renew_mutex release_mutex")
    | _named(sending, "claim_placements claim_look_ups renew_claims drop_claims prepare")
    | _named(sending, "open_attempt sweep_lapsed sweep_expired")
    | _named(cancels, "request_cancel request_cancel_all sweep_cancels claim_cancels")
    | _named(cancels, "record_cancel_answers cancels_unseen cancels_futile")
    | _named(facts, "observe_orders record_fills sweep_unconfirmed")
    | _named(evidence, "record_evidence prove_absent")
    | _named(venue, "note_mode end_mode end_lapsed_modes spend pause_budget owe_budget beat")
    | _named(venue, "require_pulse take_pulse beat_pulse untold_orders take_lease drop_leases")
    | _named(venue, "worker_started worker_ready worker_stopped store_events mark_events")
    | _named(venue, "waiting_events move_cursor start_run end_run record_exchanges make_partitions")
    | _named(venue, "take_receipt")
    | _named(asking, "get_orders find_by_key standing_orders record_holdings sweep_losses")
    | _named(setting_up, "open_account sign_as import_markets book_movement set_limit")
    | _named(setting_up, "set_halt clear_halt claim_withdrawals")
    | dict.fromkeys(
        ("prune_exchanges", "end_lock_holders", "end_idle_transactions"),
        venue.nothing,
    )
    | dict.fromkeys(("sweep_groups",), venue.nothing)
    | {
        "acknowledge": partial(sending.complete, outcome="accepted", event="ACCEPT"),
        "acknowledge_delayed": partial(sending.complete, outcome="accepted", event="DELAY"),
        "reject": partial(sending.complete, outcome="rejected", event="REJECT"),
        "hold_back": partial(sending.complete, outcome="held_back", event="HOLD_BACK"),
        "mark_seen": partial(sending.complete, outcome="seen", event="LOSE"),
        "mark_unknown": partial(sending.complete, outcome="unknown", event="LOSE"),
    }
)


def sweep_breaches(t: Tables) -> int:
    """Finds again a breach whose own transaction was rolled back: here none ever is."""
    limits = t.limits
    for lane in t.lanes.values():
        if lane.suspended_until is not None and lane.suspended_until > t.now:
            continue
        up, down = lane.effective(0), lane.effective(1)
        over = limits.max_outcome_micros is not None and max(up, down) > limits.max_outcome_micros
        over |= limits.max_market_micros is not None and up + down > limits.max_market_micros
        if over or min(lane.confirmed) < 0:
            raise NotModelled("a breach that only a sweep finds")
    return 0


FUNCTIONS["sweep_breaches"] = sweep_breaches

ON_ITS_WAY: Final = frozenset(
    {"RESERVED", "PREPARED", "SENDING", "HELD_BACK", "UNKNOWN", "DELAYED"}
)


class ModelStore:
    """A `Store` without a server."""

    def __init__(self, volatile: frozenset[str] | None = None) -> None:
        """``volatile``: the functions that may write, as a real server lists them; else all that are modelled."""
        self._base = Tables()
        self._tables = self._base.twin()
        self._volatile = volatile or frozenset(FUNCTIONS)
        self._statements: dict[str, Function] = {}
        self.calls: Counter[str] = Counter()
        self.unknown = ""
        """What was asked since `begin` and is not modelled."""

    @property
    def tables(self) -> Tables:
        """The ledger as it is."""
        return self._tables

    def begin(self, at_us: int = START_US) -> None:
        """See `Store.begin`."""
        self._tables = self._base.twin()
        self._tables.now = at_us
        self.unknown = ""

    def keep(self) -> None:
        """See `Store.keep`."""
        self._base = self._tables.twin()

    def set_clock(self, at_us: int) -> None:
        """See `Store.set_clock`."""
        self._tables.now = at_us

    def call(self, function: str, arguments: Sequence[Any]) -> Any:
        """See `Store.call`. Whatever is refused is refused before anything is written, or it is not modelled."""
        known = FUNCTIONS.get(function)
        self.calls[function] += 1
        self._tables.touched = False
        try:
            if known is None:
                raise NotModelled(f"the function {function}")
            answer = known(self._tables, *arguments)
        except NotModelled as unknown:
            # The code under test may take it for a trouble of the moment: it is kept for whoever plays.
            self.unknown = self.unknown or str(unknown)
            raise
        except asyncpg.PostgresError:
            if self._tables.touched:
                self.unknown = f"a refusal of {function} after it has written"
                raise NotModelled(self.unknown) from None
            raise
        if isinstance(answer, dict | list):
            return json.dumps(answer, ensure_ascii=False)
        return answer

    def query(self, statement: str, arguments: Sequence[Any]) -> list[Mapping[str, Any]]:
        """See `Store.query`."""
        answers = self._statements.get(statement)
        if answers is None:
            answers = self._statements[statement] = asking.answer_to(statement)
        return list(answers(self._tables, *arguments))

    def audit(self, names: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
        """See `Store.audit`."""
        return {name: list(views.VIEWS[name](self._tables)) for name in names}

    def settled(self) -> bool:
        """See `Store.settled`."""
        t = self._tables
        return not (
            any(o.state in ON_ITS_WAY for o in t.orders.values())
            or any(c.status == "due" for c in t.cancels.values())
            or any(r.phase == "settling" for r in t.reservations.values())
            or any(f.settlement == "provisional" for f in t.fills.values())
            or any(v.applied_at is None and v.problem is None for v in t.events.values())
            or any(a.outcome == "open" for some in t.attempts.values() for a in some)
        )

    def ended(self) -> frozenset[str]:
        """See `Store.ended`."""
        some = self._tables.orders.values()
        return frozenset(
            o.venue_order_id for o in some if o.state in ENDED and o.venue_order_id is not None
        )

    def volatile(self) -> frozenset[str]:
        """See `Store.volatile`."""
        return self._volatile

    def close(self) -> None:
        """See `Store.close`."""
