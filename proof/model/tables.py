"""The rows of the model, and the whole of one ledger: one account, its markets, and what trading makes of them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

ENDED: Final = frozenset({"FILLED", "CANCELLED", "EXPIRED", "REJECTED", "NOT_PLACED"})
UNSENT: Final = frozenset({"RESERVED", "PREPARED", "HELD_BACK"})


def _two() -> list[int]:
    return [0, 0]


@dataclass(slots=True)
class Account:
    account_id: int
    name: str
    venue: str
    quarantine_us: int
    created_at: int
    maker: str | None = None
    signer: str | None = None


@dataclass(slots=True)
class Market:
    market_id: int
    condition_id: str
    slug: str
    tick_micros: int
    min_size_micros: int
    fee_rate_micros: int
    fee_exponent: int
    fee_taker_only: bool
    neg_risk: bool
    tokens: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(slots=True)
class Limits:
    """Of every market alike; what a schedule's stage does not set is at its default."""

    max_outcome_micros: int | None = 100_000_000
    max_market_micros: int | None = 200_000_000
    burst_per_minute: int | None = 6
    burst_gap_ms: int | None = 2_000
    duplicate_window_ms: int = 1_000
    breaker_rejects: int = 3
    breaker_cancels: int = 3
    slow_ms: int = 2_000
    stop_ms: int = 5_000


@dataclass(slots=True)
class Lane:
    """A row of exposure: one market of the account."""

    market_id: int
    clock_at: int
    pending_buy: list[int] = field(default_factory=_two)
    open_buy: list[int] = field(default_factory=_two)
    awaiting_buy: list[int] = field(default_factory=_two)
    provisional_buy: list[int] = field(default_factory=_two)
    pending_sell: list[int] = field(default_factory=_two)
    open_sell: list[int] = field(default_factory=_two)
    awaiting_sell: list[int] = field(default_factory=_two)
    provisional_sell: list[int] = field(default_factory=_two)
    confirmed: list[int] = field(default_factory=_two)
    bought: list[int] = field(default_factory=_two)
    sold: list[int] = field(default_factory=_two)
    basis: list[int] = field(default_factory=_two)
    held_cost: int = 0
    at_risk: int = 0
    open_orders: int = 0
    journal_seq: int = 0
    last_set_id: int | None = None
    suspended_until: int | None = None
    suspended_why: str | None = None
    mutex_holder: str | None = None
    mutex_term: int = 0
    mutex_until: int | None = None
    mutex_again: bool = False

    def effective(self, i: int) -> int:
        """Buys from the moment they are reserved, sells only once confirmed."""
        return (
            self.confirmed[i]
            + self.provisional_buy[i]
            + self.awaiting_buy[i]
            + self.open_buy[i]
            + self.pending_buy[i]
        )

    def twin(self) -> Lane:
        made = copy(self)
        for name in _LISTS:
            setattr(made, name, list(getattr(self, name)))
        return made


_LISTS: Final = (
    *("pending_buy", "open_buy", "awaiting_buy", "provisional_buy", "pending_sell", "open_sell"),
    *("awaiting_sell", "provisional_sell", "confirmed", "bought", "sold", "basis"),
)


@dataclass(slots=True)
class Order:
    order_id: int
    market_id: int
    outcome: int
    token_id: str
    side: str
    price_micros: int
    size_micros: int
    tick_micros: int
    fee_rate_micros: int
    fee_exponent: int
    order_type: str
    post_only: bool
    expires_at_s: int
    order_class: str
    key: str
    set_id: int | None
    replaces_order_id: int | None
    salt: int
    signed_at_ms: int
    created_at: int
    valid_until: int
    state_at: int
    state: str = "RESERVED"
    cause: str = ""
    venue_order_id: str | None = None
    size_matched_micros: int = 0
    traded_micros: int = 0
    confirmed_micros: int = 0
    failed_micros: int = 0
    attempts: int = 0
    fate_open: bool = False
    seen_at_venue: bool = False
    last_deadline: int | None = None
    cancel_asked_at: int | None = None
    cancel_reason: str | None = None

    @property
    def matched(self) -> int:
        return max(self.size_matched_micros, self.traded_micros)


@dataclass(slots=True)
class Reservation:
    order_id: int
    market_id: int
    asset: str
    phase: str
    shares_micros: int
    awaiting_micros: int
    held_micros: int
    created_at: int
    awaiting_since: int | None = None
    released_at: int | None = None


@dataclass(slots=True)
class Outbox:
    outbox_id: int
    market_id: int
    order_id: int
    set_id: int | None
    passes_block: bool
    not_before: int
    status: str = "ready"
    claimed_by: str | None = None
    claimed_until: int | None = None
    claim_no: int = 0


@dataclass(slots=True)
class Signed:
    venue_order_id: str
    body: str
    """In base64, in one line."""


@dataclass(slots=True)
class Attempt:
    attempt: int
    incarnation: str
    owner: str
    opened_at: int
    deadline: int
    outcome: str = "open"
    ended_at: int | None = None


@dataclass(slots=True)
class Evidence:
    evidence_id: int
    kind: str
    started_at: int
    at: int
    incarnation: str | None
    owner: str
    detail: str


@dataclass(slots=True)
class Cancel:
    order_id: int
    market_id: int
    reason: str
    next_at: int
    status: str = "due"
    tries: int = 0
    last_answer: str | None = None
    futile_tries: int = 0
    absent_reads: int = 0
    wide_to: str | None = None
    wide_at: int | None = None
    wide_tries: int = 0


@dataclass(slots=True)
class Fill:
    trade_id: str
    order_id: int
    market_id: int
    outcome: int
    side: str
    size_micros: int
    price_micros: int
    cash_micros: int
    is_maker: bool
    matched_at: int
    raw_status: str
    fee_micros: int = 0
    fee_rank: int = 0
    settlement: str = "provisional"
    contradicted_at: int | None = None
    settled_at: int | None = None


@dataclass(slots=True)
class Replacement:
    replacement_id: int
    old_order_id: int
    request: dict[str, Any]
    filled_at_ask: int
    state: str = "waiting"
    new_order_id: int | None = None
    code: str = ""


@dataclass(slots=True)
class Key:
    fingerprint: tuple[Any, ...]
    kind: str
    subject_id: int


@dataclass(slots=True)
class Halt:
    halt_id: int
    scope: str
    scope_id: str
    why: str
    set_as: str
    set_at: int
    cleared_at: int | None = None


@dataclass(slots=True)
class Breaker:
    market_id: int
    kind: str
    count: int = 0
    until: int | None = None
    slow_until: int | None = None
    probe_order_id: int | None = None
    why: str = ""


@dataclass(slots=True)
class Mode:
    mode: str
    until: int | None
    ended_at: int | None = None


@dataclass(slots=True)
class Pulse:
    required: bool
    grace_us: int
    chain_id: str = ""
    term: int = 0
    ok_at: int | None = None


@dataclass(slots=True)
class Lease:
    holder: str | None
    term: int
    until: int
    ttl_us: int


@dataclass(slots=True)
class Budget:
    tokens: int
    filled_at: int
    paused_until: int | None = None


@dataclass(slots=True)
class Event:
    event_id: str
    raw: str
    received_at: int
    applied_at: int | None = None
    problem: str | None = None


@dataclass(slots=True)
class Holding:
    theirs: int
    ours: int
    unsettled: int
    seen_at: int
    agreed_at: int | None


@dataclass(slots=True)
class Balance:
    available: int = 0
    locked: int = 0


Row = dict[str, Any]


class Tables:
    """One ledger."""

    def __init__(self) -> None:
        self.now = 0
        self.touched = False
        """Whether this call has written: one that is refused must not have."""
        self.account: Account | None = None
        self.limits = Limits()
        self.markets: dict[int, Market] = {}
        self.tokens: dict[str, tuple[int, int]] = {}
        self.lanes: dict[int, Lane] = {}
        self.at_risk = self.open_orders = self.traded_net = 0
        self.journal: list[Row] = []
        self.entries: list[Row] = []
        self.entry_keys: set[str] = set()
        self.balances: dict[str, Balance] = {}
        self.contra: dict[tuple[str, str], int] = {}
        self.orders: dict[int, Order] = {}
        self.by_venue_id: dict[str, int] = {}
        self.reservations: dict[int, Reservation] = {}
        self.outbox: dict[int, Outbox] = {}
        self.signed: dict[int, Signed] = {}
        self.attempts: dict[int, list[Attempt]] = {}
        self.evidence: dict[int, list[Evidence]] = {}
        self.cancels: dict[int, Cancel] = {}
        self.fills: dict[tuple[str, int], Fill] = {}
        self.keys: dict[str, Key] = {}
        self.replacements: dict[int, Replacement] = {}
        self.halts: list[Halt] = []
        self.breakers: dict[tuple[int, str], Breaker] = {}
        self.modes: dict[str, Mode] = {}
        self.pulses: dict[str, Pulse] = {}
        self.leases: dict[str, Lease] = {}
        self.budgets: dict[tuple[str, str], Budget] = {}
        self.events: dict[str, Event] = {}
        self.cursors: dict[str, int] = {}
        self.holdings: dict[str, Holding] = {}
        self.steps: set[int] = set()
        """Last order ids at which the clock was found to have gone back."""
        self.beats: dict[str, int] = {}
        self.marks: dict[int, tuple[int, int, int, int]] = {}
        self.receipts: set[tuple[str, str]] = set()
        self.partitions = 0
        self.last = {"order": 0, "set": 0, "outbox": 0, "evidence": 0, "run": 0, "halt": 0}
        """The sequences."""

    def next(self, name: str) -> int:
        self.last[name] += 1
        return self.last[name]

    def twin(self) -> Tables:
        """The same again, sharing no row that can change."""
        made = Tables()
        for name, value in vars(self).items():
            setattr(made, name, _twin(value))
        return made


def _twin(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _twin(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_twin(one) for one in value]
    if isinstance(value, set):
        return set(value)
    if isinstance(value, Lane):
        return value.twin()
    return copy(value) if hasattr(value, "__slots__") else value
