"""The metadata all tables of the schema ``ledger`` belong to, and a type they share."""

from __future__ import annotations

from typing import Final

from sqlalchemy import MetaData, String

metadata: Final = MetaData(schema="ledger")

NAME: Final = String()
"""Names of roles. The column type is the catalogue's ``name``, which SQLAlchemy reads back as this."""
