"""What is known of the venue's condition, and of what it says is owned.

As ledger/sql/tables/venue.sql and holdings.sql.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import NAME, metadata

_ACCOUNT = "ledger.account.account_id"
_EMPTY = text("''::text")

venue_mode = Table(
    "venue_mode",
    metadata,
    Column("account_id", BigInteger, ForeignKey(_ACCOUNT), primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False),
    Column(
        "until",
        DateTime(timezone=True),
        comment="When it ends by itself; NULL: not before somebody has seen that it is over.",
    ),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("signs", BigInteger, nullable=False, server_default=text("1")),
    Column("detail", Text, nullable=False, server_default=_EMPTY),
    Column("ended_at", DateTime(timezone=True)),
    comment=(
        "The latest episode of each mode; every begin and end is also in the journal. A mode gates "
        "placements, never cancels."
    ),
)

venue_budget = Table(
    "venue_budget",
    metadata,
    Column("signer", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("tokens_micros", BigInteger, nullable=False),
    Column("filled_at", DateTime(timezone=True), nullable=False),
    Column("paused_until", DateTime(timezone=True)),
    Column("tier", Text, nullable=False, server_default=_EMPTY),
    comment=(
        "The venue counts per signer address, so all workers of a signer draw from one bucket. "
        "Tokens in 1e-6."
    ),
)

pulse = Table(
    "pulse",
    metadata,
    Column("account_id", BigInteger, ForeignKey(_ACCOUNT), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("required", Boolean, nullable=False),
    Column("grace_ms", Integer, nullable=False),
    Column(
        "chain_id",
        Text,
        nullable=False,
        server_default=_EMPTY,
        comment="What the next heartbeat must name; kept so that another holder goes on with the chain.",
    ),
    Column("term", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "ok_at",
        DateTime(timezone=True),
        comment="When it was last known good. A send needs one no older than grace_ms.",
    ),
    Column("problem", Text),
    comment=(
        "What must be alive for an account to place: whoever keeps it says so again and again, so "
        "that a dead keeper needs nobody to notice it."
    ),
)

venue_exchange = Table(
    "venue_exchange",
    metadata,
    Column("account_id", BigInteger, ForeignKey(_ACCOUNT), primary_key=True),
    Column("exchange_id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("incarnation", Uuid),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("query", Text, nullable=False, server_default=_EMPTY),
    Column("request", Text, nullable=False, server_default=_EMPTY),
    Column("phase", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("answer", Text, nullable=False, server_default=_EMPTY),
    Column("problem", Text, nullable=False, server_default=_EMPTY),
    Column("took_ms", BigInteger, nullable=False),
    Index("venue_exchange_by_time", "at"),
    comment=(
        "Requests and raw answers as they were, without authentication headers. Kept for a set "
        "time, then pruned: what matters of an answer is in attempt, cancel_request and evidence "
        "for good."
    ),
)

holding_seen = Table(
    "holding_seen",
    metadata,
    Column("account_id", BigInteger, ForeignKey(_ACCOUNT), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("theirs", BigInteger, nullable=False),
    Column("ours", BigInteger, nullable=False),
    Column("unsettled", BigInteger, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column(
        "agreed_at",
        DateTime(timezone=True),
        comment=(
            "When both last said the same (collateral: when none of ours was missing). What differs "
            "after that is a new finding."
        ),
    ),
    comment=(
        "The latest comparison per asset. unsettled: what our rows say is on its way, which the "
        "venue may or may not count yet."
    ),
)

reward = Table(
    "reward",
    metadata,
    Column("account_id", BigInteger, ForeignKey(_ACCOUNT), primary_key=True),
    Column("reward_key", Text, primary_key=True),
    Column("condition_id", Text),
    Column("earned_on", Date, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    comment=(
        "What the venue paid for resting orders: liquidity rewards and maker rebates, in collateral "
        "micros."
    ),
)

reward_allocation = Table(
    "reward_allocation",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("reward_key", Text, primary_key=True),
    Column("strategy", Text, primary_key=True),
    Column("amount_micros", BigInteger, nullable=False),
    Column("allocated_by", NAME, nullable=False),
    Column("allocated_at", DateTime(timezone=True), nullable=False),
    ForeignKeyConstraint(
        ["account_id", "reward_key"], ["ledger.reward.account_id", "ledger.reward.reward_key"]
    ),
)
