"""The hot rows, balances and their entries.

As ledger/sql/tables/exposure.sql.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.tables.base import metadata

exposure = Table(
    "exposure",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("market_id", BigInteger, ForeignKey("ledger.market.market_id"), primary_key=True),
    Column(
        "pending_buy", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0}'::bigint[]")
    ),
    Column("open_buy", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0}'::bigint[]")),
    Column(
        "awaiting_buy",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment="Matched according to a read, not yet seen in trades.",
    ),
    Column(
        "provisional_buy",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment=(
            "Bought in trades that are not final: counts as position at once, cannot be sold yet."
        ),
    ),
    Column(
        "pending_sell", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0}'::bigint[]")
    ),
    Column(
        "open_sell", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0}'::bigint[]")
    ),
    Column(
        "awaiting_sell", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0}'::bigint[]")
    ),
    Column(
        "provisional_sell",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
    ),
    Column(
        "confirmed",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment="Final position: confirmed buys minus confirmed sells plus entries with a cause.",
    ),
    Column(
        "admitted_at",
        ARRAY(DateTime(timezone=True)),
        nullable=False,
        server_default=text("'{}'::timestamp with time zone[]"),
    ),
    Column("last_admitted_at", DateTime(timezone=True)),
    Column("last_set_id", BigInteger),
    Column("suspended_until", DateTime(timezone=True)),
    Column("suspended_why", Text),
    Column("mutex_holder", Uuid),
    Column("mutex_term", BigInteger, nullable=False, server_default=text("0")),
    Column("mutex_until", DateTime(timezone=True)),
    Column("mutex_again", Boolean, nullable=False, server_default=text("false")),
    Column("journal_seq", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "clock_at",
        DateTime(timezone=True),
        nullable=False,
        comment=(
            "The latest database time used in a decision here; time never runs backwards for "
            "a limit."
        ),
    ),
)

account_state = Table(
    "account_state",
    metadata,
    Column(
        "account_id",
        BigInteger,
        ForeignKey("ledger.account.account_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("journal_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("journal_digest", LargeBinary, nullable=False, server_default=text("''::bytea")),
    Column("entry_seq", BigInteger, nullable=False, server_default=text("0")),
)

balance = Table(
    "balance",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("available", BigInteger, nullable=False, server_default=text("0")),
    Column("locked", BigInteger, nullable=False, server_default=text("0")),
    comment=("asset is 'collateral' (pUSD) or a token id. Only confirmed tokens are available."),
)

balance_entry = Table(
    "balance_entry",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("entry_seq", BigInteger, primary_key=True),
    Column("asset", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("entry_key", Text, nullable=False, comment="Each movement can be booked once."),
    Column("available_delta", BigInteger, nullable=False),
    Column("locked_delta", BigInteger, nullable=False),
    Column("order_id", BigInteger),
    Column("trade_id", Text),
    Column("note", Text),
    Column("at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("account_id", "entry_key"),
    Index(
        "balance_entry_moved", "account_id", "asset", postgresql_where=text("(order_id IS NULL)")
    ),
    Index(
        "balance_entry_of_order",
        "account_id",
        "order_id",
        postgresql_where=text("(order_id IS NOT NULL)"),
    ),
)
