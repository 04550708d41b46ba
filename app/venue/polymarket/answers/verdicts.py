"""The words of the table in `rules`: what an answer proves, whose matter it is, which mode it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What an answer proves about the bytes that were sent."""

    REJECTED = "REJECTED"
    """Refused for good: these bytes will not live."""
    NOT_PLACED = "NOT_PLACED"
    """Not processed: the same bytes may go again."""
    SEEN = "SEEN"
    """The venue knows this id. A read must say what became of it."""
    UNKNOWN = "UNKNOWN"
    """Nothing."""


class ReasonClass(StrEnum):
    """Whose matter a refusal is: what has to be looked at before the next order of the kind."""

    OURS = "OURS"
    """The order itself is wrong: the next one from the same code is too."""
    MARKET = "MARKET"
    """The market's state or its prices."""
    BALANCE = "BALANCE"
    """Funds or allowances of the account, as the venue counts them."""
    CREDENTIALS = "CREDENTIALS"
    """The key, the signer or the wallet is not accepted."""
    VENUE = "VENUE"
    """The venue's own condition, or its door."""


class Mode(StrEnum):
    """A condition of the venue, or of this account there, that outlasts one answer (docs/venue.md 9)."""

    RESTARTING = "RESTARTING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    DISABLED = "DISABLED"
    RATE_LIMITED = "RATE_LIMITED"
    GEOBLOCKED = "GEOBLOCKED"
    CLOSED_ONLY = "CLOSED_ONLY"
    BAD_CREDENTIALS = "BAD_CREDENTIALS"
    BANNED = "BANNED"
    ORDER_VERSION = "ORDER_VERSION"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row."""

    code: str
    """Stable; no two rows share one."""
    verdict: Verdict
    reason: ReasonClass
    statuses: tuple[int, ...]
    """HTTP statuses under which it is believed; 200 means an error text inside a 200. Empty: any."""
    texts: tuple[str, ...]
    """What the venue writes, as documented or quoted. Shown in the documentation, tried by the tests."""
    pattern: re.Pattern[str] | None
    """The whole text in lower case, single spaces; None where the status says it, whatever the body."""
    whole_request: bool = False
    """True of a batch too. Otherwise it may concern one order of it, and proves nothing about the rest."""
    mode: Mode | None = None
    wait_ms: int = 0
    """Before the same bytes go again, where the answer states no time."""
    body_code: str = ""
    """A ``code`` in the body that says the same as the text."""
    html: bool = False
    """The body is a page of the edge in front of the venue, not an answer of the venue."""
