"""The border to whoever carries a transfer out. Three-valued: moved, proven not moved, or not known.

A transfer has the rule of an order: its bytes are made first and sent by themselves later, so that
they can be stored in between; whatever is in doubt stays in doubt until something is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be moved. ``withdrawal_id`` makes two equal wishes two transfers."""

    account: str
    withdrawal_id: int
    destination: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """The bytes to send, and the hash under which they are known. Made once per withdrawal."""

    hash: str
    body: bytes


# ---- what became of one send


@dataclass(frozen=True, slots=True)
class Done:
    """The money has moved, for good."""

    reference: str | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken; not carried out yet."""

    reference: str | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite answer that this copy moves nothing, now or later. Says nothing of another copy."""

    code: str
    raw: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte has left."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Anything else."""

    reason: str
    raw: str = ""


Sent: TypeAlias = Done | Accepted | Refused | NotSent | Unsure

# ---- what a look-up finds; `Done` as above


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended without moving anything. ``proof``: no other copy could be behind this one."""

    raw: str
    proof: bool = True


@dataclass(frozen=True, slots=True)
class Pending:
    """It is there, and under way."""

    reference: str | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing is known under this hash *now*. ``proof``: the read is of the whole truth."""

    raw: str
    proof: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """Nothing may be concluded."""

    reason: str


Seen: TypeAlias = Done | Failed | Pending | Absent | Unread


class Treasury(Protocol):
    """Carries transfers of one account's collateral out. Never raises for what the outside does."""

    @property
    def name(self) -> str: ...

    @property
    def repeatable(self) -> bool:
        """The same bytes move the money once, however often they are sent."""
        ...

    @property
    def request_ms(self) -> int:
        """The longest a send takes."""
        ...

    @property
    def valid_ms(self) -> int:
        """How long after a send a copy may still be carried out."""
        ...

    async def prepare(self, wish: Wish) -> Transfer:
        """The bytes. Sends nothing. Raises `BadInput` for a wish that can never be carried out."""
        ...

    async def send(self, wish: Wish, transfer: Transfer) -> Sent: ...

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Seen: ...
