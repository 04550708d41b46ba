"""What the feed tells whoever runs it: settings, notices, counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Rules:
    """Times and bounds of a feed. The defaults are for the venue; tests shorten them."""

    tokens_per_connection: int = 100
    ping_every_s: float = 10.0
    silent_after_s: float = 30.0
    """Without any frame, PONG included, a connection is taken for dead."""
    stale_after_s: float = 60.0
    """Without anything about a token its book is asked for anew: a socket that still answers PING
    may have stopped carrying data, for hours (docs/venue.md 6.5).
    """
    answer_within_s: float = 10.0
    """For the whole book after a subscription; else the connection is replaced, once per token."""
    settle_after_s: float = 1.0
    """When nothing newer comes, a claim is judged after so long."""
    look_every_s: float = 0.5
    good_after_s: float = 60.0
    """A book that was restored and held for so long starts with a clean sheet."""
    first_pause_s: float = 0.25
    most_pause_s: float = 30.0
    most_patience_s: float = 600.0
    """Between requests for a book that does not come, or does not stay right."""
    queue_frames: int = 2_000
    keep_unreadable: int = 100
    distrust_after: int = 20
    """So many books in a row caught wrong by a price change's hash, and none proved by one: then
    those hashes are not the book's, and are no longer looked at.
    """


class NoticeKind(StrEnum):
    """Values never change; new ones may be added."""

    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    UNREADABLE = "UNREADABLE"
    PROBLEM = "PROBLEM"
    RESUBSCRIBED = "RESUBSCRIBED"
    SILENT = "SILENT"
    RESTORED = "RESTORED"
    CHANGE_HASHES_UNUSABLE = "CHANGE_HASHES_UNUSABLE"
    TICK_CHANGED = "TICK_CHANGED"
    RESOLVED = "RESOLVED"
    NEW_MARKET = "NEW_MARKET"
    FALLBACK = "FALLBACK"
    FALLBACK_UNREAD = "FALLBACK_UNREAD"


@dataclass(frozen=True, slots=True)
class Notice:
    """``count`` is the number of failures in a row, of tokens, or a tick in micros, by kind."""

    kind: NoticeKind
    connection: int = 0
    token_id: str = ""
    market: str = ""
    detail: str = ""
    count: int = 0


@dataclass(slots=True)
class Counters:
    """Since the feed was made."""

    messages: int = 0
    frames: int = 0
    unreadable: int = 0
    strangers: int = 0
    """Frames about tokens that nobody follows."""
    problems: int = 0
    proved: int = 0
    """Price changes whose hash was reproduced."""
    resubscriptions: int = 0
    connections: int = 0
    disconnections: int = 0
    overflows: int = 0


Tell: TypeAlias = Callable[[Notice], None]
"""Called at once and must not wait."""


def ignore(_notice: Notice) -> None:
    """For whoever reads the counters only."""


class Socket(Protocol):
    """One open connection. `send` and `receive` raise one of the feed's ``lost`` when it is gone."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str: ...

    async def close(self) -> None:
        """Never raises."""
        ...


Connect: TypeAlias = Callable[[str], Awaitable[Socket]]
"""Opens a connection to a full address, or raises one of the feed's ``lost``."""
