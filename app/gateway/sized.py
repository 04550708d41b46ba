"""An intent with the reason for its size: what a sizing said is what is asked for, and stays with the order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from app.errors import BadInput, Code
from app.ledger import Intent
from app.money import format_micros
from app.risk.sizing import Sized

SIZING: Final = "sizing"
"""Its place in an intent's context."""


def with_sizing(intent: Intent, sizing: Sized) -> Intent:
    """The intent with the sizing's inputs in its context.

    Less than was sized may be asked for, more may not: the record would tell another story than the
    order. Raises `BadInput` with ``BAD_SIZE`` or ``BAD_REQUEST``.
    """
    if not 0 < intent.size_micros <= sizing.size_micros:
        raise BadInput(
            Code.BAD_SIZE,
            f"the intent is for {format_micros(intent.size_micros)} shares, and "
            f"{format_micros(sizing.size_micros)} were sized",
            not_done="nothing was reserved and nothing was sent",
            next_step="place nothing if the size is 0, else ask for the size that was sized",
        )
    if SIZING in intent.context:
        raise BadInput(
            Code.BAD_REQUEST,
            f"the intent's context has a {SIZING!r} of its own",
            not_done="nothing was reserved and nothing was sent",
            next_step="leave that name to the sizing that is given with the intent",
        )
    return replace(intent, context={**intent.context, SIZING: sizing.record()})
