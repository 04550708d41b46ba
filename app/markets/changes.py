"""What is different between the market we stored and the market the venue shows now.

Pure: two views in, a list of changes and what to do about them out. A change that makes an order
mean something else (another exchange) stops trading at once; one that only moves a limit takes
effect by being stored; everything else is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

from app.markets.model import MarketRecord, Reason

Severity = Literal["info", "warning", "error"]


class ChangeKind(StrEnum):
    """Values never change; new ones may be added."""

    TICK = "TICK"
    MIN_SIZE = "MIN_SIZE"
    FEE = "FEE"
    NEG_RISK_ON = "NEG_RISK_ON"
    NEG_RISK_OFF = "NEG_RISK_OFF"
    AUGMENTED = "AUGMENTED"
    PLACEHOLDER = "PLACEHOLDER"
    CLOSED = "CLOSED"
    STOPPED = "STOPPED"
    TRADABLE = "TRADABLE"
    END_MOVED = "END_MOVED"
    START_MOVED = "START_MOVED"
    TOKENS = "TOKENS"
    PROTOCOL = "PROTOCOL"
    EVENT = "EVENT"


SEVERITY: Final[Mapping[ChangeKind, Severity]] = {
    ChangeKind.TICK: "info",
    ChangeKind.MIN_SIZE: "info",
    ChangeKind.FEE: "warning",
    ChangeKind.NEG_RISK_ON: "error",
    ChangeKind.NEG_RISK_OFF: "warning",
    ChangeKind.AUGMENTED: "warning",
    ChangeKind.PLACEHOLDER: "warning",
    ChangeKind.CLOSED: "info",
    ChangeKind.STOPPED: "warning",
    ChangeKind.TRADABLE: "info",
    ChangeKind.END_MOVED: "warning",
    ChangeKind.START_MOVED: "info",
    ChangeKind.TOKENS: "error",
    ChangeKind.PROTOCOL: "error",
    ChangeKind.EVENT: "info",
}

_OVER: Final = frozenset({Reason.CLOSED, Reason.EVENT_CLOSED, Reason.RESOLVED, Reason.ARCHIVED})
_EXCHANGE_UNCLEAR: Final = frozenset({Reason.NEG_RISK_CONFLICT, Reason.NEG_RISK_UNKNOWN})
COLUMNS: Final = (
    "slug",
    "question",
    "event_id",
    "event_title",
    "category",
    "group_key",
    "tick_micros",
    "min_size_micros",
    "fee_rate_micros",
    "fee_exponent",
    "fee_taker_only",
    "neg_risk",
    "neg_risk_augmented",
    "protocol_version",
    "window_start_ms",
    "window_end_ms",
    "tradable",
    "untradable_reasons",
)
"""What an import writes of a market, by the names of `MarketRecord.to_row`."""


@dataclass(frozen=True, slots=True)
class StoredMarket:
    """A market as the ledger holds it. Nothing is unknown there: a fee that was not known reads as
    zero, an exchange that was not known as the ordinary one, and the market is then not tradable.
    """

    condition_id: str
    slug: str | None
    question: str
    event_id: str | None
    event_title: str | None
    category: str | None
    group_key: str | None
    tick_micros: int | None
    min_size_micros: int | None
    fee_rate_micros: int
    fee_exponent: int
    fee_taker_only: bool
    neg_risk: bool
    neg_risk_augmented: bool
    protocol_version: str
    window_start_ms: int | None
    window_end_ms: int | None
    tradable: bool
    untradable_reasons: tuple[str, ...]
    raw_digest: str | None
    outcomes: tuple[tuple[int, str, str], ...]
    """(index, label, token id)."""

    def to_row(self) -> dict[str, Any]:
        """The same market as a row for the import, to write it again with one thing changed."""
        row: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        row["untradable_reasons"] = list(self.untradable_reasons)
        outcomes = [
            {"index": index, "label": label, "token_id": token}
            for index, label, token in self.outcomes
        ]
        identity = {"condition_id": self.condition_id, "raw_digest": self.raw_digest}
        return identity | row | {"outcomes": outcomes}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different. ``before`` and ``after`` are integers, flags or text."""

    kind: ChangeKind
    before: object
    after: object

    @property
    def severity(self) -> Severity:
        return SEVERITY[self.kind]


@dataclass(frozen=True, slots=True)
class Plan:
    """``halt`` goes first: the stored row is what says that the exchange was another one."""

    changes: Mapping[str, tuple[Change, ...]]
    """Condition id to what is different; only those where anything is."""
    halt: Mapping[str, str]
    """Condition id to why: stop these markets and cancel every order in them."""
    store: tuple[MarketRecord, ...]
    """What has to be written, sorted by condition id."""


def compare(stored: StoredMarket, fresh: MarketRecord) -> tuple[Change, ...]:
    """Everything a person or a strategy would want to be told of, each kind at most once."""
    found: list[Change] = []

    def note(kind: ChangeKind, before: object, after: object, *, known: bool = True) -> None:
        if known and before != after:
            found.append(Change(kind, before, after))

    exchange_changed = _exchange_change(stored, fresh)
    if exchange_changed is not None:
        found.append(exchange_changed)
    # a term that is missing now is a reason not to trade, told as STOPPED, and no new value
    tick, size = fresh.tick_micros, fresh.min_size_micros
    note(ChangeKind.TICK, stored.tick_micros, tick, known=tick is not None)
    note(ChangeKind.MIN_SIZE, stored.min_size_micros, size, known=size is not None)
    note(
        ChangeKind.FEE,
        (stored.fee_rate_micros, stored.fee_exponent, stored.fee_taker_only),
        (fresh.fee_rate_micros, fresh.fee_exponent, fresh.fee_taker_only),
        known=fresh.fee_rate_micros is not None,
    )
    note(ChangeKind.AUGMENTED, stored.neg_risk_augmented, fresh.neg_risk_augmented)
    note(ChangeKind.PLACEHOLDER, _is_placeholder(stored), _is_placeholder(fresh))
    note(ChangeKind.PROTOCOL, stored.protocol_version, fresh.protocol_version)
    note(ChangeKind.EVENT, stored.event_id, fresh.event_id)
    note(ChangeKind.TOKENS, _tokens(stored), _tokens(fresh), known=bool(fresh.outcomes))
    end = fresh.window_end_ms
    note(ChangeKind.END_MOVED, stored.window_end_ms, end, known=end is not None)
    note(ChangeKind.START_MOVED, stored.window_start_ms, fresh.window_start_ms)
    found += _tradability(stored, fresh)
    return tuple(found)


def plan(
    stored: Iterable[StoredMarket],
    fresh: Iterable[MarketRecord],
    *,
    ticks: Mapping[str, int] | None = None,
) -> Plan:
    """Compare all. A market that turns neg-risk stops every stored market of its event, for the flag
    is the event's; a market that nobody stored yet is stored. ``ticks`` by condition id were told
    by the stream a moment ago and count for more than metadata, which is cached.
    """
    known = {one.condition_id: one for one in stored}
    shown = {one.condition_id: _with_tick(one, ticks or {}) for one in fresh}
    changes = {
        condition: found
        for condition, record in sorted(shown.items())
        if condition in known and (found := compare(known[condition], record))
    }
    turned = [
        condition
        for condition, found in changes.items()
        if any(change.kind is ChangeKind.NEG_RISK_ON for change in found)
    ]
    store = (
        settled(known[condition], record) if condition in known else record
        for condition, record in sorted(shown.items())
    )
    return Plan(
        changes=changes,
        halt=_halts(turned, known, shown),
        store=tuple(
            one
            for one in store
            if one.condition_id not in known or differs(known[one.condition_id], one)
        ),
    )


def settled(stored: StoredMarket, fresh: MarketRecord) -> MarketRecord:
    """What is stored of a fresh record: an exchange that is unclear now stays what it was.

    Else a market that wavers once would look as if it had turned when it becomes clear again.
    """
    if fresh.neg_risk is None:
        return replace(fresh, neg_risk=stored.neg_risk)
    return fresh


def differs(stored: StoredMarket, fresh: MarketRecord) -> bool:
    """Whether storing the record would change a column that anybody reads."""
    row = fresh.to_row()
    row["question"] = fresh.question or ""
    row["fee_rate_micros"] = fresh.fee_rate_micros or 0
    row["fee_exponent"] = 1 if fresh.fee_exponent is None else fresh.fee_exponent
    row["neg_risk"] = stored.neg_risk if fresh.neg_risk is None else fresh.neg_risk
    before = stored.to_row()
    if any(row[name] != before[name] for name in COLUMNS):
        return True
    return bool(fresh.outcomes) and row["outcomes"] != before["outcomes"]


def _exchange_change(stored: StoredMarket, fresh: MarketRecord) -> Change | None:
    """The flag itself, or two opinions about it where there was one: one of them says it is on."""
    if fresh.neg_risk is not None:
        if fresh.neg_risk is stored.neg_risk:
            return None
        kind = ChangeKind.NEG_RISK_ON if fresh.neg_risk else ChangeKind.NEG_RISK_OFF
        return Change(kind, stored.neg_risk, fresh.neg_risk)
    was_clear = not (_EXCHANGE_UNCLEAR & set(stored.untradable_reasons))
    contradicted = Reason.NEG_RISK_CONFLICT in fresh.untradable_reasons
    if contradicted and was_clear and not stored.neg_risk:
        return Change(ChangeKind.NEG_RISK_ON, False, "contradicted")
    return None


def _tradability(stored: StoredMarket, fresh: MarketRecord) -> list[Change]:
    """At most one of CLOSED, STOPPED, TRADABLE."""
    over_before = bool(_OVER & set(stored.untradable_reasons))
    over_now = bool(_OVER & set(fresh.untradable_reasons))
    before, after = ", ".join(stored.untradable_reasons), ", ".join(fresh.untradable_reasons)
    if over_now and not over_before:
        return [Change(ChangeKind.CLOSED, before, after)]
    if stored.tradable and not fresh.tradable:
        return [Change(ChangeKind.STOPPED, before, after)]
    if fresh.tradable and not stored.tradable:
        return [Change(ChangeKind.TRADABLE, before, after)]
    return []


def _halts(
    turned: Sequence[str], known: Mapping[str, StoredMarket], shown: Mapping[str, MarketRecord]
) -> dict[str, str]:
    halts: dict[str, str] = {}
    for condition in turned:
        halts[condition] = "NEG_RISK_ON: the market's orders go to another exchange now"
    events = {
        event: condition
        for condition in turned
        for event in (known[condition].event_id, shown[condition].event_id)
        if event
    }
    for condition, market in known.items():
        if market.event_id in events and condition not in halts:
            halts[condition] = f"NEG_RISK_ON: {events[market.event_id]} of its event turned"
    return dict(sorted(halts.items()))


def _with_tick(record: MarketRecord, ticks: Mapping[str, int]) -> MarketRecord:
    tick = ticks.get(record.condition_id)
    return (
        record if tick is None or record.tick_micros is None else replace(record, tick_micros=tick)
    )


def _is_placeholder(market: StoredMarket | MarketRecord) -> bool:
    return Reason.PLACEHOLDER_OUTCOME in market.untradable_reasons


def _tokens(market: StoredMarket | MarketRecord) -> tuple[str, ...]:
    if isinstance(market, StoredMarket):
        return tuple(token for _, _, token in market.outcomes)
    return tuple(outcome.token_id for outcome in market.outcomes)
