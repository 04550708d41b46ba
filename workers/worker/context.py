"""What every task of a worker is handed, and the little state they share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from app.clock import Ports
from app.config import Settings
from app.ledger.calls import LedgerCalls
from app.observe.logs import Logger
from app.venue.interface import Found, Unread, Venue
from app.venue.polymarket.signing import SignatureType, Signer
from workers.worker.points import Reached


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What signs for an account. ``signer``'s repr hides the key."""

    signer: Signer
    maker: str
    signer_address: str
    signature_type: SignatureType
    owner: str = ""
    """The API key id at sending: an identifier, recorded with each attempt."""


ExtraPass: TypeAlias = tuple[str, Callable[[], Awaitable[bool]], int]
"""Name, one pass, idle time in milliseconds: see `loop.run`."""

ExtraRun: TypeAlias = tuple[str, Coroutine[Any, Any, None]]
"""Name and a coroutine that ends by itself when the worker stops."""


class Host(Protocol):
    """The part of a venue that a worker must look after: keys, markets, its own life."""

    @property
    def venue(self) -> Venue: ...

    def key(self, account: str) -> AccountKey | None: ...

    def note_market(self, token_id: str, *, neg_risk: bool) -> None: ...

    async def prepare(self, *, to_trade: bool) -> None:
        """Once, before any task runs. Raises `BadInput` for what keeps the process from starting."""
        ...

    async def preflight(self, account: str) -> str:
        """Before each start comparison: why the account is not ready, or empty."""
        ...

    async def listed_tokens(self, account: str) -> Found[Sequence[str]] | Unread:
        """Tokens that somebody besides the ledger says the account holds. One that is missing proves nothing."""
        ...

    def passes(self, context: Context) -> Sequence[ExtraPass]: ...

    def runs(self, context: Context) -> Sequence[ExtraRun]: ...

    async def aclose(self) -> None: ...


@dataclass(slots=True)
class Shared:
    """State of this process only; everything that matters after a crash is in the database."""

    ready: set[str] = field(default_factory=set)
    """Accounts whose start comparison was clean: only for these is anything placed."""
    known: set[str] = field(default_factory=set)
    """Accounts this worker serves: for these cancels and look-ups run from the first moment."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    holding: set[int] = field(default_factory=set)
    """Orders whose claims a task of this process is working on: only these are renewed, so that a
    claim whose task has gone lapses and is judged by somebody, though the process lives on.
    """
    compare_soon: set[str] = field(default_factory=set)
    """Accounts to be compared with the venue before the next regular time."""
    work: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a wake-up; the poll is the truth, this only shortens it."""
    cancel_work: asyncio.Event = field(default_factory=asyncio.Event)
    """The same for the cancels: with one event for both the first to wake would take it from the other, and a new order
    would leave before the cancel that was asked before it.
    """


@dataclass(frozen=True, slots=True)
class Context:
    calls: LedgerCalls
    watch: LedgerCalls
    """A connection of the watchdog's own."""
    host: Host
    ports: Ports
    settings: Settings
    incarnation: uuid.UUID
    log: Logger
    reached: Reached
    shared: Shared = field(default_factory=Shared)

    @property
    def venue(self) -> Venue:
        return self.host.venue

    @property
    def lease_ms(self) -> int:
        return self.settings.claim_lease_ms

    def elapsed_ms(self, since_ns: int) -> int:
        return (self.ports.clock.monotonic_ns() - since_ns) // 1_000_000

    def jitter_ms(self, base_ms: int) -> int:
        """``base_ms`` plus up to a half: workers that failed together must not come back together."""
        return base_ms + int(self.ports.rng.uniform(0, base_ms / 2))

    def backoff_ms(self, tries: int, *, first_ms: int = 250, most_ms: int = 30_000) -> int:
        """Exponential, bounded, with jitter."""
        return self.jitter_ms(min(most_ms, first_ms * 2 ** min(tries, 16)))

    def named(self, component: str) -> Logger:
        return self.log.bind(component=component)
