"""How far this machine's clock is from another one.

It matters twice. The headers of a request bear this machine's time and are refused when it is too far off
(docs/venue.md 1.2), and an order's own timestamp is the database's.
"""

from __future__ import annotations

from typing import Final

from workers.doctor.findings import Finding, fail, ok, warn

WARN_MS: Final = 1_000
FAIL_MS: Final = 5_000
"""How far the venue lets a header's time be off is not documented [UNCERTAIN]; these are ours."""


def offset_ms(before_ms: int, told_ms: int, after_ms: int, resolution_ms: int = 1) -> int:
    """The least offset that explains a clock which said ``told_ms`` between two readings of ours.

    Whatever the way there and back took, and what the other clock leaves out below its resolution, is
    not known to be an offset. Positive: our clock is ahead.
    """
    if before_ms >= told_ms + resolution_ms:
        return before_ms - (told_ms + resolution_ms - 1)
    return min(0, after_ms - told_ms)


def clock_finding(name: str, offset: int, took_ms: int) -> Finding:
    """Judge an offset by the thresholds."""
    where = "ahead of" if offset > 0 else "behind"
    other = name.removeprefix("clock, ")
    seen = (
        f"at least {abs(offset)} ms {where} the {other}'s clock"
        if offset
        else f"no offset to the {other} that {took_ms} ms of asking would show"
    )
    step = "keep this machine's clock by NTP, and look at whether it is"
    if abs(offset) > FAIL_MS:
        return fail(name, seen, step)
    return warn(name, seen, step) if abs(offset) > WARN_MS else ok(name, seen)
