"""Which of the venue's faults a schedule draws more often than the rest, and times that fit a schedule of seconds."""

from __future__ import annotations

from typing import Any, Final

OFTEN: Final = (
    *("drop_before", "drop_after", "appear_late", "error_after", "hang", "restarting"),
    *(
        "http_error",
        "cancel_phantom",
        "cancel_miss",
        "partial_batch",
        "delivered_twice",
        "slow_head",
    ),
)
"""What leaves a fate open, or says what is not so: drawn more often than the rest of the list."""

SHORTER: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "hang": {"ms": (300, 3_000)},
    "appear_late": {"ms": (200, 900, 2_500), "answer": ("drop", "hang", 504)},
    "delayed": {"ms": (500, 3_000)},
    "engine_restart": {"for_ms": (1_000,), "post_only_ms": (1_500,)},
    "cancel_only": {"for_ms": (1_500,)},
    "disabled": {"for_ms": (1_500,)},
    "market_not_ready": {"ms": (1_500,)},
    "slow_head": {"ms": (300, 1_500)},
    "stream_silence": {"ms": (2_000,)},
    "http_error": {"status": (500, 502, 503, 504)},
    "error_after": {"status": (500, 502, 503)},
}
"""Times that fit a schedule of seconds. ``appear_late`` stays below the quarantine, as the venue's slowest does."""
