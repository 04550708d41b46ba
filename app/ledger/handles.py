"""An order to hold on to, so that a bot can await what becomes of it without carrying ids about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.ledger.answers import Admission, Cancelled, OrderView
from app.ledger.waiting import Until

if TYPE_CHECKING:
    from app.ledger.client import Ledger


@dataclass(frozen=True, slots=True)
class OrderHandle:
    """One order of a ledger. ``admission`` is there if this handle comes from placing it."""

    ledger: Ledger
    order_id: int
    admission: Admission | None = None

    async def view(self) -> OrderView:
        """The order as it is now."""
        return await self.ledger.order(self.order_id)

    async def settled(self, *, until: Until = "ended", timeout_s: float | None = None) -> OrderView:
        """Await the order's end; see `Ledger.settled`."""
        return await self.ledger.settled(self.order_id, until=until, timeout_s=timeout_s)

    async def cancel(self, reason: str = "asked") -> Cancelled:
        """Ask for a cancel, whoever evaluates the market; see `Ledger.cancel`."""
        return await self.ledger.cancel(self.order_id, reason=reason)
