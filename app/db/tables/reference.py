"""What orders refer to: accounts, grants, markets, outcomes, limits, halts, workers, leases.

As ledger/sql/tables/reference.sql.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.db.tables.base import NAME, metadata

account = Table(
    "account",
    metadata,
    Column("account_id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("venue", Text, nullable=False),
    Column("maker", Text),
    Column("signer", Text),
    Column("signature_type", SmallInteger, nullable=False, server_default=text("0")),
    Column(
        "quarantine_ms",
        BigInteger,
        nullable=False,
        server_default=text("120000"),
        comment=(
            "How long after the last moment an attempt could still arrive before absence may "
            "be concluded. Longer than the slowest appearance known (40 s seen at the "
            "venue)."
        ),
    ),
    Column("created_at", DateTime(timezone=True), nullable=False),
    comment=("One row per (wallet, signing key). venue never changes: paper and live never mix."),
)

account_grant = Table(
    "account_grant",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("role_name", NAME, primary_key=True),
    Column("granted_by", NAME, nullable=False, server_default=text("SESSION_USER")),
    Column("granted_at", DateTime(timezone=True), nullable=False),
    comment=(
        "Which login may reserve and ask for cancels for which account. Checked against "
        "session_user, which SET ROLE cannot change."
    ),
)

market = Table(
    "market",
    metadata,
    Column("market_id", BigInteger, Identity(always=True), primary_key=True),
    Column("condition_id", Text, nullable=False, unique=True),
    Column("slug", Text),
    Column("question", Text, nullable=False, server_default=text("''::text")),
    Column("event_id", Text),
    Column("event_title", Text),
    Column("category", Text),
    Column("group_key", Text),
    Column("tick_micros", BigInteger),
    Column("min_size_micros", BigInteger),
    Column("fee_rate_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("fee_exponent", SmallInteger, nullable=False, server_default=text("1")),
    Column("fee_taker_only", Boolean, nullable=False, server_default=text("true")),
    Column("neg_risk", Boolean, nullable=False, server_default=text("false")),
    Column("neg_risk_augmented", Boolean, nullable=False, server_default=text("false")),
    Column("protocol_version", Text, nullable=False, server_default=text("'v1'::text")),
    Column("window_start", DateTime(timezone=True)),
    Column("window_end", DateTime(timezone=True)),
    Column("tradable", Boolean, nullable=False),
    Column("untradable_reasons", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("source_digest", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("market_by_group", "group_key"),
    Index("market_by_slug", "slug"),
)

outcome = Table(
    "outcome",
    metadata,
    Column("market_id", BigInteger, ForeignKey("ledger.market.market_id"), primary_key=True),
    Column("outcome", SmallInteger, primary_key=True),
    Column("label", Text, nullable=False),
    Column(
        "token_id",
        Text,
        nullable=False,
        unique=True,
        comment="uint256 as decimal text without leading zero.",
    ),
)

limits = Table(
    "limits",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("market_id", BigInteger, primary_key=True),
    Column("max_outcome_micros", BigInteger),
    Column("max_market_micros", BigInteger),
    Column(
        "burst_per_minute",
        Integer,
        comment=(
            "Orders admitted per minute, account and market; 0 admits none, NULL at every "
            "level means no limit."
        ),
    ),
    Column("burst_gap_ms", Integer),
    Column("burst_counts_sells", Boolean),
    Column("max_order_micros", BigInteger),
    Column("max_order_cost_micros", BigInteger),
    Column(
        "max_market_cost_micros",
        BigInteger,
        comment=(
            "Collateral at risk in one market: what its position cost and what its BUY orders hold."
        ),
    ),
    Column(
        "max_imbalance_micros",
        BigInteger,
        comment="Effective shares of one outcome above those of the other.",
    ),
    Column("max_open_orders", Integer),
    Column(
        "cooldown_ms",
        Integer,
        comment=(
            "Between two changes of a market (placements, replacements, cancels asked for by "
            "whoever trades). A cancel is never refused."
        ),
    ),
    Column("changes_per_minute", Integer),
    Column(
        "collar_micros",
        BigInteger,
        comment=(
            "A BUY may not lie further above the middle of the last good book than this, a "
            "SELL not further below it."
        ),
    ),
    Column("max_slippage_bps", Integer),
    Column("book_age_ms", Integer, comment="A book older than this is none. NULL counts as 30000."),
    Column("self_match_allowed", Boolean),
    Column("duplicate_window_ms", Integer),
    Column("duplicate_refused", Boolean),
    Column("open_buffer_ms", BigInteger),
    Column("close_buffer_ms", BigInteger),
    Column("weekend_allowed", Boolean),
    Column("breaker_rejects", Integer),
    Column("breaker_cancels", Integer),
    Column("slow_ms", Integer),
    Column("stop_ms", Integer),
)

limit_change = Table(
    "limit_change",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("market_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("why", Text, nullable=False),
    Column("changed_by", NAME, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column(
        "scope",
        Text,
        nullable=False,
        server_default=text("''::text"),
        comment=(
            "Empty for a row of limits; else whose total was changed (account, group, global,"
            " live)."
        ),
    ),
    Column("scope_id", Text, nullable=False, server_default=text("''::text")),
)

halt = Table(
    "halt",
    metadata,
    Column(
        "halt_id",
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment=(
            "Also the version that resume must name: resuming N is refused while a newer "
            "halt of the scope stands."
        ),
    ),
    Column("scope", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("set_by", NAME, nullable=False),
    Column("set_as", Text, nullable=False, server_default=text("''::text")),
    Column("set_at", DateTime(timezone=True), nullable=False),
    Column("cleared_by", NAME),
    Column("cleared_as", Text),
    Column("cleared_why", Text),
    Column("cleared_at", DateTime(timezone=True)),
    Index("halt_standing", "scope", "scope_id", postgresql_where=text("(cleared_at IS NULL)")),
)

halt_change = Table(
    "halt_change",
    metadata,
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("halt_id", BigInteger, nullable=False),
    Column("change", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("why", Text),
    Column("changed_by", NAME, nullable=False),
    Column("changed_as", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    comment=(
        "Append-only: each halt once when it is set and once when it is cleared. What happened to "
        "a halt otherwise shows in the audit."
    ),
)

worker = Table(
    "worker",
    metadata,
    Column("incarnation", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("ready", Boolean, nullable=False, server_default=text("false")),
    Column("not_ready_why", Text),
    Column("stopped_at", DateTime(timezone=True)),
    Column(
        "alive_until",
        DateTime(timezone=True),
        nullable=False,
        comment=(
            "Three leases of its claims from its last beat on. Nothing else says that a worker "
            "lives: the killed do not say goodbye."
        ),
    ),
    Column(
        "left_at_stop",
        JSONB,
        comment=(
            "What was not over for each of its accounts when it stopped in order: a snapshot for "
            "people. NULL while it runs, and for the killed."
        ),
    ),
    Index("worker_by_beat", "seen_at"),
)

clock_step = Table(
    "clock_step",
    metadata,
    Column(
        "last_order_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment=(
            "The highest order id given out by then: no order up to it is sent (again) from then on."
        ),
    ),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("lost_ms", BigInteger, nullable=False),
    Column("found_by", Uuid, nullable=False),
    comment=(
        "Times at which a worker found that the database's clock had gone back, or stood still, "
        "by lost_ms."
    ),
)

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid),
    Column("term", BigInteger, nullable=False, server_default=text("0")),
    Column("until", DateTime(timezone=True), nullable=False),
    Column(
        "ttl_ms",
        Integer,
        comment=(
            "For how long it was taken or renewed last: further ahead than that, it is of a time "
            "before the clock went back. NULL: taken before release 0.2.0."
        ),
    ),
    comment=(
        "One holder per name; the term grows with each change of holder, so a late "
        "holder can be refused."
    ),
)
