"""The append-only journal, what was archived of it, and settings.

As ledger/sql/tables/journal.sql.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import NAME, metadata

journal = Table(
    "journal",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("market_id", BigInteger),
    Column("market_seq", BigInteger),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("event", Text, nullable=False),
    Column("order_id", BigInteger),
    Column("attempt", Integer),
    Column("from_state", Text),
    Column("to_state", Text),
    Column("actor", NAME, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column(
        "digest",
        LargeBinary,
        nullable=False,
        comment=(
            "SHA-256 of the digest of the account's row before it and of this row: no row can be "
            "changed without all that follow."
        ),
    ),
    Index("journal_of_market", "account_id", "market_id", "market_seq", "at", unique=True),
    Index("journal_of_order", "account_id", "order_id", "seq"),
)

archived_partition = Table(
    "archived_partition",
    metadata,
    Column("partition_name", Text, primary_key=True),
    Column("row_count", BigInteger, nullable=False),
    Column("first_at", DateTime(timezone=True)),
    Column("last_at", DateTime(timezone=True)),
    Column("digest", LargeBinary, nullable=False),
    Column("archived_by", NAME, nullable=False),
    Column("archived_at", DateTime(timezone=True), nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="Schema-wide facts: the role prefix, retention per table, how long keys live.",
)
