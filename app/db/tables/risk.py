"""What risk remembers: limits on totals and their loans, books, breakers, marks of equity.

As ledger/sql/tables/risk.sql.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.tables.base import metadata

total_limits = Table(
    "total_limits",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    Column("max_cost_micros", BigInteger),
    Column("max_shares_micros", BigInteger),
    Column("max_open_orders", Integer),
    Column("changes_per_minute", Integer),
    Column("max_daily_loss_micros", BigInteger),
    Column("max_rolling_loss_micros", BigInteger),
    Column(
        "drawdown_from_micros",
        BigInteger,
        comment=(
            "From this distance below the highest equity on, order sizes shrink evenly; at "
            "drawdown_to_micros nothing but unwinding is left."
        ),
    ),
    Column("drawdown_to_micros", BigInteger),
    comment=(
        "live covers all accounts of the real venue together: the canary cap, which only "
        "a person lifts."
    ),
)

group_state = Table(
    "group_state",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("at_risk", BigInteger, nullable=False, server_default=text("0")),
    Column("shares", BigInteger, nullable=False, server_default=text("0")),
    comment=(
        "What an account has at risk in a correlation group: the sum over its exposure "
        "rows of that group."
    ),
)

pool = Table(
    "pool",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    Column("lent_cost_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("lent_shares_micros", BigInteger, nullable=False, server_default=text("0")),
)

loan = Table(
    "loan",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    Column("cost_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("shares_micros", BigInteger, nullable=False, server_default=text("0")),
    Index("loan_of_pool", "scope", "scope_id"),
)

book = Table(
    "book",
    metadata,
    Column("market_id", BigInteger, ForeignKey("ledger.market.market_id"), primary_key=True),
    Column("outcome", SmallInteger, primary_key=True),
    Column("bids", ARRAY(BigInteger), nullable=False),
    Column("asks", ARRAY(BigInteger), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column(
        "mark_micros",
        BigInteger,
        comment=(
            "What a share is taken to be worth: the middle of the last book with both sides; its "
            "bid while nobody offers; never more than the ask while nobody bids. An empty book "
            "says nothing. NULL until something said so."
        ),
    ),
    comment=(
        "The last good book of each outcome: price and size in micros alternating, best "
        "price first, at most 20 levels a side."
    ),
)

breaker = Table(
    "breaker",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("market_id", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column(
        "count",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Failures in a row; a success makes it zero.",
    ),
    Column(
        "until",
        DateTime(timezone=True),
        comment=(
            "Nothing is placed before; after it one order goes as a probe (half-open). NULL: "
            "closed."
        ),
    ),
    Column("slow_until", DateTime(timezone=True)),
    Column(
        "probe_order_id",
        BigInteger,
        comment="The order let through after until; while its fate is open no other follows.",
    ),
    Column("why", Text, nullable=False, server_default=text("''::text")),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

equity_mark = Table(
    "equity_mark",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("equity_micros", BigInteger, nullable=False),
    Column("realised_micros", BigInteger, nullable=False),
    Column("unrealised_micros", BigInteger, nullable=False),
    Column("fees_micros", BigInteger, nullable=False),
    Column(
        "stale_markets",
        Integer,
        nullable=False,
        comment=(
            "Markets with a position whose last book is old or missing: marked at that book, "
            "or at cost where there is none."
        ),
    ),
    Index("equity_mark_highest", "account_id", "equity_micros"),
    comment=(
        "What trading has brought since the start (realised + unrealised; deposits are "
        "not in it), each minute in which it changed and at midnight UTC."
    ),
)
