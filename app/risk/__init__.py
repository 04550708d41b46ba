"""Sizing. Limits, breakers and halts are decided in `app/ledger/sql`, in the commit that reserves."""

from app.risk.sizing import Moment, Sized, SizingRules, size

__all__ = ["Moment", "Sized", "SizingRules", "size"]
