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
    Integer,
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
    Column(
        "bought",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment=(
            "Share micros of all buys that have not failed and of movements in; bought - sold"
            " is the position."
        ),
    ),
    Column(
        "bought_cost",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment="Collateral micros they cost, fees included.",
    ),
    Column(
        "sold",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment="Share micros of confirmed sells and of movements out.",
    ),
    Column(
        "sold_cost",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment="Collateral micros they brought, after fees.",
    ),
    Column(
        "held_cost",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Collateral micros locked by the BUY orders of this market.",
    ),
    Column("open_orders", Integer, nullable=False, server_default=text("0")),
    Column(
        "at_risk",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment=("basis plus held_cost: what was last added to the totals of account and group."),
    ),
    Column(
        "shares",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Effective shares of both outcomes, as last added to the totals.",
    ),
    Column(
        "group_key", Text, comment="The group these numbers were added to; follows the market's."
    ),
    Column(
        "changed_at",
        DateTime(timezone=True),
        comment=(
            "When an order of this market was last placed, replaced or asked to be cancelled "
            "by whoever trades."
        ),
    ),
    Column(
        "change_tokens",
        BigInteger,
        comment=(
            "What was left of the budget of changes at change_tokens_at, in millionths; NULL:"
            " all of it."
        ),
    ),
    Column("change_tokens_at", DateTime(timezone=True)),
    Column(
        "basis",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{0,0}'::bigint[]"),
        comment=(
            "Collateral micros that what is held cost: the sum of basis_micros over fills and"
            " movements. 0 where nothing is held."
        ),
    ),
    Index(
        "exposure_open_positions",
        "account_id",
        "market_id",
        postgresql_where=text("(bought <> sold)"),
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
    Column(
        "at_risk",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="The sum of at_risk over the account's exposure rows.",
    ),
    Column("shares", BigInteger, nullable=False, server_default=text("0")),
    Column("open_orders", Integer, nullable=False, server_default=text("0")),
    Column(
        "size_factor_ppm",
        Integer,
        nullable=False,
        server_default=text("1000000"),
        comment=(
            "How much of the largest order is allowed, in millionths: drawdown makes it smaller."
        ),
    ),
    Column("change_tokens", BigInteger),
    Column("change_tokens_at", DateTime(timezone=True)),
    Column(
        "traded_net",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment=(
            "The sum of sold_cost - bought_cost over the account's exposure rows: profit needs no "
            "closed market to be read."
        ),
    ),
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
    Column(
        "contra",
        Text,
        nullable=False,
        server_default=text("'venue'::text"),
        comment=(
            "Where the rest of the movement stands: venue (counterparties), outside "
            "(deposits, transfers), chain (split, redemption ...), correction."
        ),
    ),
    Column("contra_delta", BigInteger, nullable=False, server_default=text("0")),
    Column("fee_delta", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "value_micros",
        BigInteger,
        comment="Of tokens that moved without a trade: what they were worth in collateral micros.",
    ),
    Column(
        "basis_micros",
        BigInteger,
        comment=(
            "What a movement of tokens added to what the position cost (basis of exposure); NULL"
            " for everything else."
        ),
    ),
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

contra_balance = Table(
    "contra_balance",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("contra", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False, server_default=text("0")),
)
