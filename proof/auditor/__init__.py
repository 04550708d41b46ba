"""The independent auditor: what must hold between what was asked, what the venue did and what the ledger says."""

from __future__ import annotations

from proof.auditor.interface import Asked, VenueBook, Views
from proof.auditor.verdict import INVARIANTS, judge

__all__ = ["INVARIANTS", "Asked", "VenueBook", "Views", "judge"]
