"""What the independent auditor is shown: what was asked, the venue's book, and the ledger's public views.

Nothing else. It knows no table, no function and no class of the system, so that an error in those cannot be an error
in it as well. Whoever runs the system (simulator, chaos, a test) fills these in and calls `proof.auditor.judge`.

Two kinds of time:

- ``turn`` orders everything that happened in one run, on whichever side: a counter of the simulator, or nanoseconds of
  one monotonic clock where processes are real. It never goes back, also when clocks do. What was asked has a turn at
  which it began and one at which the answer was there; what the venue did has the turn at which it took effect there.
- ``at_us`` is simulated (or wall) time in microseconds, for bounds on how long something may take.

Amounts are integers of 1e-6; sides are ``BUY`` and ``SELL``; outcomes are 0 and 1; collateral is the asset
``collateral``, tokens are their ids as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MarketTerms:
    """A market as it was imported. ``fee_rate_micros`` and ``fee_exponent`` as in the market's own object."""

    market: str
    tokens: tuple[str, str]
    fee_rate_micros: int = 0
    fee_exponent: int = 1
    group: str | None = None
    slug: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told. ``code`` is the stable reason of a refusal, else None.

    ``replayed``: the answer said that it repeats an earlier one. ``order_id`` is what it named, ``size_micros`` the
    size admitted (less than asked where it was clamped), ``price_micros`` where the price was changed.
    ``replacement_id`` is what a replace was told.
    """

    accepted: bool
    code: str | None = None
    order_id: int | None = None
    replayed: bool = False
    size_micros: int | None = None
    price_micros: int | None = None
    replacement_id: int | None = None


@dataclass(frozen=True, slots=True)
class OrderAsked:
    """One call that asked for an order (once per call: a repeated key is two of these).

    ``answer`` None: the caller never learned it (died, lost its connection); it may or may not have been admitted.
    ``valid_until_us``: it must not be sent later than that, on the scale of ``at_us``; None where the run let clocks
    jump, so that nobody can say. ``replaces``: the order id that a replace named; then the hold of this one begins only
    when the old one has ended.
    """

    turn: int
    at_us: int
    account: str
    key: str
    market: str
    outcome: int
    side: str
    price_micros: int
    size_micros: int
    order_type: str = "GTC"
    post_only: bool = False
    expires_at_s: int = 0
    kind: str = "entry"
    valid_until_us: int | None = None
    clamp: bool = False
    replaces: int | None = None
    actor: str = ""
    answered_turn: int | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A cancel of one order (``order_id``), of a market's (``market``), of an account's (both None), or of all.

    ``account`` None means every account. Also the cancels that a halt, a withdrawal or a shutdown implies may be told
    here. A cancel whose ``answer`` is None may not have happened. A release of an order that was never sent is told
    here too, and a person's ``order resolve`` with ``why`` "resolve".
    """

    turn: int
    at_us: int
    account: str | None
    order_id: int | None = None
    market: str | None = None
    why: str = ""
    answered_turn: int | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class HaltAsked:
    """A halt (``on``) or its end. ``scope``: global, account, group, market; ``subject``: which one ('' for global)."""

    turn: int
    at_us: int
    scope: str
    subject: str
    on: bool
    version: int | None = None
    answered_turn: int | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class LimitSet:
    """A limit in force from somewhere between ``turn`` and ``answered_turn`` on.

    ``account`` and ``market`` None: for all. ``value`` None: no limit of its own. For limits on totals ``scope`` is
    account, group, global or live and ``subject`` its name (None: the default of all). What a new ledger starts with is
    told as a LimitSet of turn 0.
    """

    turn: int
    name: str
    value: int | None
    account: str | None = None
    market: str | None = None
    scope: str = "market"
    subject: str | None = None
    answered_turn: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A movement of an asset with a cause other than a trade or a withdrawal: opening, deposit, correction, transfer.

    ``amount_micros`` is signed. ``done`` False: it was asked and its fate is not known to the asker.
    """

    turn: int
    account: str
    asset: str
    amount_micros: int
    cause: str = "opening"
    answered_turn: int | None = None
    done: bool = True


@dataclass(frozen=True, slots=True)
class WithdrawalAsked:
    """A withdrawal; every call with its key. ``withdrawal_id`` as answered."""

    turn: int
    at_us: int
    account: str
    key: str
    amount_micros: int
    answered_turn: int | None = None
    answer: Answer | None = None
    withdrawal_id: int | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when nobody could work for the account (None: any): no worker, or no database, or no network.

    What must happen within a time has that much longer.
    """

    turn: int
    at_us: int
    until_turn: int
    until_us: int
    account: str | None = None


@dataclass(slots=True)
class Asked:
    """Everything that bots and operators asked, in the order of ``turn``."""

    markets: dict[str, MarketTerms] = field(default_factory=dict)
    orders: list[OrderAsked] = field(default_factory=list)
    cancels: list[CancelAsked] = field(default_factory=list)
    halts: list[HaltAsked] = field(default_factory=list)
    limits: list[LimitSet] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    withdrawals: list[WithdrawalAsked] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    ended: tuple[int, int] | None = None
    """The last turn of the run, and its time. Without it the last orders are judged by less."""


@dataclass(frozen=True, slots=True)
class VenueFill:
    """Our part of one trade, as the venue's book says at the end.

    ``status`` is the venue's word: MATCHED, MINED, CONFIRMED, RETRYING, FAILED. ``final_turn``: when it became
    CONFIRMED or FAILED.
    """

    trade_id: str
    price_micros: int
    size_micros: int
    fee_micros: int
    status: str
    turn: int
    at_us: int
    final_turn: int | None = None


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order that the venue ever accepted.

    ``state`` is live, matched, cancelled or expired (matched: nothing is left to fill). ``digest`` names the signed
    bytes that were accepted. ``foreign``: it was placed past the system on purpose (a fault of the run).
    """

    venue_order_id: str
    salt: str
    digest: str
    account: str
    market: str
    token_id: str
    side: str
    price_micros: int
    size_micros: int
    matched_micros: int
    state: str
    turn: int
    at_us: int
    ended_turn: int | None = None
    ended_us: int | None = None
    fills: tuple[VenueFill, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived at the venue, in order; a batch is one row per item, with the turn of the request.

    ``kind``: place, cancel (``venue_order_id``), cancel_market (``market``), cancel_all. ``taken``: whether the venue
    acted on it (accepted the order, took the cancel); ``refusal`` is its reason, or HTTP status as text, else ''.
    A request that the network swallowed before the venue has ``lost``, where the run knows of it: it was on the wire.
    ``sent_turn`` and ``sent_us`` say when its first byte left, where the run knows that; else it counts as sent when
    it arrived. ``market`` is told for placements as well.
    """

    turn: int
    at_us: int
    account: str
    kind: str
    venue_order_id: str | None = None
    market: str | None = None
    digest: str = ""
    salt: str = ""
    size_micros: int | None = None
    price_micros: int | None = None
    taken: bool = True
    refusal: str = ""
    lost: bool = False
    sent_turn: int | None = None
    sent_us: int | None = None
    sender: str = ""


@dataclass(slots=True)
class VenueBook:
    """The venue's own truth."""

    orders: list[VenueOrder] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    balances: dict[tuple[str, str], int] | None = None
    """(account, asset) -> what it owns there; None where the venue keeps none."""


@dataclass(slots=True)
class Views:
    """Rows of the ledger's public audit views, by name without schema, as dicts by column.

    Times may be datetimes or None; ``journal.detail`` a dict or JSON text. ``at_rest``: the run was brought to its end
    (faults over, every quarantine passed, a comparison with the venue ended clean), so that nothing may be open by
    reason of time. ``second_start``: the same views after one more start on a ledger at rest, to be equal.
    ``excused``: orders that may be open at rest, with the reason (a person's decision is awaited, say).
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    at_rest: bool = True
    second_start: dict[str, list[Row]] | None = None
    excused: dict[int, str] = field(default_factory=dict)

    def of(self, view: str) -> Sequence[Row]:
        if view not in self.rows:
            raise KeyError(f"the auditor was not given the view audit.{view}")
        return self.rows[view]


COLUMNS: Mapping[str, str] = {
    "orders": (
        "account order_id key market outcome token_id venue_order_id side price_micros size_micros order_type state "
        "ended cause cancel_asked_at replaces_order_id attempts seen_at_venue fate_open matched_micros traded_micros "
        "confirmed_micros failed_micros phase remaining_micros awaiting_micros held_asset held_micros released_at"
    ),
    "fills": (
        "account trade_id order_id market outcome side price_micros size_micros cash_micros fee_micros settlement "
        "venue_order_id"
    ),
    "journal": "account seq market market_seq event order_id attempt from_state to_state detail",
    "balances": "account asset available_micros locked_micros total_micros",
    "balance_entries": (
        "account entry_seq asset cause available_delta_micros locked_delta_micros order_id trade_id entry_key contra "
        "contra_delta_micros fee_delta_micros"
    ),
    "contra": "account asset contra amount_micros",
    "exposure": (
        "account market outcome token_id position_micros provisional_buy_micros awaiting_buy_micros open_buy_micros "
        "pending_buy_micros effective_micros provisional_sell_micros awaiting_sell_micros open_sell_micros "
        "pending_sell_micros sellable_micros open_orders"
    ),
    "idempotency": "account key kind order_id replaces_order_id",
    "outbox": "account order_id status cancel_status",
    "unresolved": "account order_id state why",
    "orders_without_intent": "account venue_order_id kind standing",
    "intents_without_order": "account kind order_id anomaly",
    "withdrawals": "withdrawal_id account state amount_micros key ended attempts",
}
"""The views, and the columns of each that the auditor reads: whoever models the ledger has to give these.

More columns do no harm.
"""
