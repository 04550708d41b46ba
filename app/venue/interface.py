"""What the send path asks of a venue, and the only shapes in which a venue may answer.

Two rules make this border safe. A placement ends in one of five outcomes, of which `Unknown` is the
default: what is not recognised is never taken for a refusal (docs/venue.md 2.6, 3.3). A read is
three-valued: `Found`, `Absent` with proof, or `Unread` with a reason; a bare list is not a return type,
because a failed read that looked like "no orders" has made bots place everything again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """docs/venue.md 3.4. FOK and FAK never rest and cannot be post-only."""

    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"


# --- placing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """The stored bytes of one order. ``body`` is sent as it is; only the headers and ``owner`` are made at sending."""

    venue_order_id: str
    """The EIP-712 hash of the signed order, 0x + 64 hex digits: known before anything is sent."""
    body: bytes
    owner: str = ""
    """The API key id at sending (an identifier, not a secret)."""
    send_by_ns: int = 0
    """On the monotonic clock: no byte leaves after it. 0 for no such bound."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Definite: the venue has the order under our id."""

    venue_order_id: str
    status: str
    """Raw venue status, such as live, matched, delayed."""
    raw: str


class RefusedBy(StrEnum):
    """Whose matter a refusal is. The breakers of the ledger go by it (docs/risk.md)."""

    VENUE = "venue"
    """The venue's own condition: it blames no market."""
    MARKET = "market"
    OURS = "ours"
    CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Definite for this copy: it was refused and will not live. Proves nothing about an earlier copy."""

    code: str
    raw: str
    reason_class: RefusedBy = RefusedBy.OURS


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Definite: not processed (425, 429, 503, not ready). The same bytes may go again after ``retry_after_ms``."""

    code: str
    retry_after_ms: int
    raw: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The venue says ``Duplicated``: it has seen this id before.

    Not live, not filled: only seen; a read must follow.
    """

    raw: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else: timeout, broken connection, unreadable or contradictory answer."""

    reason: str
    raw: str


PlaceOutcome = Accepted | Rejected | NotPlaced | Seen | Unknown


# --- cancelling ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """The venue lists the id as cancelled. Still not proof of the final size: a read confirms."""

    raw: str


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The venue lists the id as not cancelled.

    The reason is free text and ambiguous (matched? unknown?): a read decides.
    """

    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class CancelNotSent:
    """Definite: the venue did not process it (425, 429, 503). Repeat after ``retry_after_ms``."""

    code: str
    retry_after_ms: int
    raw: str
    refused: bool = False
    """The request itself was refused, not put off: sent in the same way again, it will be refused again."""


@dataclass(frozen=True, slots=True)
class CancelNotListed:
    """A cancel of the whole market, or of everything, was carried out, and names the id in neither list.

    There was nothing of it to cancel, or the list is not whole: a read decides.
    """

    raw: str


@dataclass(frozen=True, slots=True)
class CancelUnknown:
    """No answer, an unreadable one, or an id that was asked for by itself in neither list."""

    reason: str
    raw: str


CancelOutcome = CancelAccepted | CancelRefused | CancelNotSent | CancelNotListed | CancelUnknown


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A complete, clean read. For lists: every page was read and every row understood."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The venue answered cleanly that there is nothing under this id *now*.

    Alone it proves no absence: an index lags, a late request may still arrive.
    """

    raw: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Nothing may be concluded."""

    reason: str


class VenueOrderStatus(StrEnum):
    """What a venue order's raw status means to us; `OTHER` keeps the raw text and concludes nothing."""

    LIVE = "LIVE"
    DELAYED = "DELAYED"
    MATCHED = "MATCHED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order as the venue shows it. Sizes in share micros."""

    venue_order_id: str
    token_id: str
    side: Side
    price_micros: int
    original_size_micros: int
    size_matched_micros: int
    """Stays after a cancel; applied as a monotone maximum because events are not ordered (docs/venue.md 6.2)."""
    status: VenueOrderStatus
    raw_status: str


class TradeStatus(StrEnum):
    """docs/venue.md 6.4. Only CONFIRMED and FAILED are final; everything else is provisional."""

    MATCHED = "MATCHED"
    MINED = "MINED"
    RETRYING = "RETRYING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """Our part of one trade. Identity is (trade_id, venue_order_id): one trade may hit several of our orders."""

    trade_id: str
    venue_order_id: str
    token_id: str
    size_micros: int
    price_micros: int
    status: TradeStatus
    raw_status: str
    is_maker: bool
    matched_at_ms: int
    fee_micros: int = 0
    """0: none, or not said. It takes back none that was said."""


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """The stream says something about an order."""

    event_id: str
    """Stable under replay of the same frame: used to store each frame once."""
    order: VenueOrder
    raw: str
    position: int = 0
    """Where the stream can be taken up again after this event; 0 where the venue cannot replay."""


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """The stream says something about our part of a trade."""

    event_id: str
    trade: VenueTrade
    raw: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class UnreadEvent:
    """The stream said something that cannot be understood. It is stored, counted and shown, never dropped."""

    event_id: str
    raw: str
    reason: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The stream begins (again). Where the venue replays nothing, what was told before may have been missed: a
    comparison must follow.
    """

    replays: bool = False


VenueEvent = OrderEvent | TradeEvent | UnreadEvent
"""What is stored before it is applied."""


class StreamLost(Exception):
    """The stream has ended; the text says how. Whoever follows it connects again, later."""


# --- holdings ------------------------------------------------------------------------------------

COLLATERAL: Final = "collateral"
"""The asset that is no token."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the venue says the account owns, in micros. Both are caches of the chain and lag by seconds."""

    collateral_micros: int
    tokens_micros: dict[str, int]
    """Only the tokens that were asked for, or that the venue lists. A missing token proves nothing."""


class Venue(Protocol):
    """A place where orders are executed. Every method answers; none raises for what the venue does.

    (A programming error still raises. ``asyncio.CancelledError`` passes through and means `Unknown`.)
    """

    name: str
    """``paper`` or ``polymarket``: must equal the account's venue; paper and live never mix."""

    async def place(self, account: str, orders: Sequence[PlaceRequest]) -> Sequence[PlaceOutcome]:
        """Send 1 to 15 orders. One outcome per order, in the order asked."""
        ...

    async def cancel(self, account: str, venue_order_ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """Ask for cancels. One outcome per id, in the order asked."""
        ...

    async def cancel_market(
        self, account: str, condition_id: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """Cancel everything of the account in a market; one outcome per id named, in the order asked."""
        ...

    async def cancel_all(
        self, account: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """Cancel everything of the account; one outcome per id named, in the order asked."""
        ...

    async def order(
        self, account: str, venue_order_id: str, *, owner: str = ""
    ) -> Found[VenueOrder] | Absent | Unread:
        """Look one order up by identity, live or ended. ``owner``: with that API key, empty for the present one."""
        ...

    async def open_orders(self, account: str) -> Found[Sequence[VenueOrder]] | Unread:
        """All live orders of the account. Absence from this list proves nothing about an order."""
        ...

    async def trades(
        self, account: str, since_ms: int, *, owner: str = ""
    ) -> Found[Sequence[VenueTrade]] | Unread:
        """All our parts of trades matched at or after ``since_ms``. ``owner`` as for `order`."""
        ...

    async def holdings(
        self, account: str, token_ids: Sequence[str]
    ) -> Found[Holdings] | Unread | None:
        """Collateral and these tokens. None where the venue keeps no balances of its own (paper)."""
        ...

    async def look_anew(self, account: str, assets: Sequence[str]) -> None:
        """Have the venue look at the chain again for these assets (``collateral`` or token ids), so that `holdings`
        says what is there now. Nothing follows from how it answers.
        """
        ...

    def events(self, account: str, *, after: int = 0) -> AsyncIterator[StreamOpened | VenueEvent]:
        """The user stream, behind position ``after`` where the venue can replay, else from now on.

        May repeat, reorder or drop; `order` and `trades` are the truth. Ends with `StreamLost`.
        """
        ...

    async def read_event(self, account: str, event_id: str, raw: str) -> VenueEvent:
        """A stored frame again, as `events` told it: for frames that were stored and not yet applied."""
        ...
