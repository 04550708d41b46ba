"""The metadata all tables of the schema ``ledger`` belong to, and a type they share."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import MetaData, Text
from sqlalchemy.types import UserDefinedType

metadata: Final = MetaData(schema="ledger")


class NAME(UserDefinedType[str]):
    """The catalogue's own type for names of roles."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return "name"


__all__ = ["NAME", "Text", "metadata"]
