"""What a person calls an order: its number in the ledger, or its id at the venue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.errors import BadInput, Code
from workers.cli.connect import read
from workers.cli.values import NOTHING, is_order_number, is_venue_order_id

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


async def order_numbers(calls: LedgerCalls, given: Sequence[str]) -> list[int]:
    """The numbers of orders, each once. Raises UNKNOWN_ORDER and BAD_REQUEST."""
    numbers: dict[int, None] = {}
    for text in given:
        if is_order_number(text):
            numbers[int(text)] = None
        elif is_venue_order_id(text):
            found = await read(calls, "order_ref", text)
            if not found:
                raise BadInput(
                    Code.UNKNOWN_ORDER,
                    f"no order has the venue id {text}",
                    not_done=NOTHING,
                    next_step="ledger-worker orders shows the numbers",
                )
            numbers.update((row["order_id"], None) for row in found)
        else:
            raise BadInput(
                Code.BAD_REQUEST,
                f"{text[:80]!r} is neither the number of an order nor its venue id (0x...)",
                not_done=NOTHING,
                next_step="ledger-worker orders shows the numbers",
            )
    return list(numbers)
