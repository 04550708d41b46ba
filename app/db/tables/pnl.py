"""What the loss limits remember: the sum of all accounts over time, and which loss was already told.

As ledger/sql/tables/pnl.sql.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Integer, Table, Text

from app.db.tables.base import metadata

total_mark = Table(
    "total_mark",
    metadata,
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("equity_micros", BigInteger, nullable=False),
    Column("accounts", Integer, nullable=False),
    comment=(
        "The equity of all accounts together. As in equity_mark a value stands until the next one."
    ),
)

loss_watch = Table(
    "loss_watch",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column(
        "told_micros",
        BigInteger,
        comment=(
            "The loss that the last halt of this kind stood for. It counts for the UTC day, or for "
            "24 hours, from told_at on."
        ),
    ),
    Column("told_at", DateTime(timezone=True)),
)
