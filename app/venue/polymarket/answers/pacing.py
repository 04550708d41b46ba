"""What an answer says about time and budget: how long to wait, what is left, which tier.

There is no clock here. A date in an answer is held against the answer's own ``Date`` header, so that a clock
of ours that runs ahead or behind changes no waiting time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from app.venue.polymarket.answers.border import plain, printable
from app.venue.polymarket.wire import Exchange, Phase

MOST_WAIT_MS: Final = 3_600_000
"""A longer time is believed up to here: a header may not park an order for a day."""

_SECONDS: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,30}))?")
_REMAINING: Final = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,30})?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class BudgetSign:
    """The signer's bucket after this request, of orders or of cancels as the request was (docs/venue.md 9.4)."""

    remaining: int | None
    """Whole tokens left, rounded down; below zero where the tier may go into debt."""
    reset_ms: int | None
    """Unix milliseconds by the venue's clock. Only after a 429 is it a time to wait for."""
    tier: str
    """As told, in lower case; empty where not told."""
    warning: bool
    """The request would have been refused if the limits were enforced."""


def budget_of(exchange: Exchange) -> BudgetSign | None:
    """The ``Poly-RateLimit-*`` headers; None where there is none of them."""
    headers = exchange.headers
    remaining = headers.get("poly-ratelimit-remaining", "").strip()
    reset_ms = _ms_of_seconds(headers.get("poly-ratelimit-reset", ""))
    tier = printable(headers.get("poly-ratelimit-tier", "")).lower()
    warning = headers.get("poly-ratelimit-warning", "").strip().lower() == "true"
    whole = _floor(remaining) if _REMAINING.fullmatch(remaining) else None
    if whole is None and reset_ms is None and not tier and not warning:
        return None
    return BudgetSign(whole, reset_ms, tier, warning)


def stated_wait_ms(exchange: Exchange, body: object = None) -> int | None:
    """How long the answer asks to wait, counted from the answer; None where it does not say.

    In this order: ``Retry-After`` (seconds or a date), ``retry_after_seconds`` in the body, and for a 429
    the bucket's reset. The last may be the present moment in any other answer.
    """
    if exchange.phase is not Phase.DONE and exchange.phase is not Phase.READING:
        return None
    wait = _retry_after_ms(exchange)
    if wait is None and isinstance(body, Mapping):
        wait = _ms_of_seconds(plain(body.get("retry_after_seconds")) or "")
    if wait is None and exchange.status == 429:
        wait = _until_ms(exchange, _ms_of_seconds(exchange.headers.get("poly-ratelimit-reset", "")))
    return None if wait is None else min(wait, MOST_WAIT_MS)


def answered_at_ms(exchange: Exchange) -> int | None:
    """When the venue says that it answered."""
    return _http_date_ms(exchange.headers.get("date", ""))


def _retry_after_ms(exchange: Exchange) -> int | None:
    told = exchange.headers.get("retry-after", "")
    seconds = _ms_of_seconds(told)
    return seconds if seconds is not None else _until_ms(exchange, _http_date_ms(told))


def _until_ms(exchange: Exchange, at_ms: int | None) -> int | None:
    now_ms = answered_at_ms(exchange)
    if at_ms is None or now_ms is None:
        return None
    return max(0, at_ms - now_ms)


def _ms_of_seconds(told: str) -> int | None:
    """Seconds as milliseconds, rounded up."""
    match = _SECONDS.fullmatch(told.strip())
    if match is None:
        return None
    fraction = match[2] or ""
    ms = int(match[1]) * 1000 + int(fraction[:3].ljust(3, "0"))
    return ms + bool(fraction[3:].strip("0"))


def _floor(told: str) -> int:
    whole, _, fraction = told.partition(".")
    below = whole.startswith("-") and bool(fraction.strip("0"))
    return int(whole) - below


def _http_date_ms(told: str) -> int | None:
    """An HTTP date in any of its three spellings."""
    try:
        at = parsedate_to_datetime(told.strip()[:60])
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return (at - _EPOCH) // _MILLISECOND
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
