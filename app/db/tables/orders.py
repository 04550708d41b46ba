"""Intents, reservations, signed bytes, attempts, fills, evidence.

As ledger/sql/tables/orders.sql.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import NAME, metadata

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="SHA-256 of the trade-defining fields of the request as asked, before clamping.",
    ),
    Column("kind", Text, nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("bound_at", DateTime(timezone=True), nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("market_id", BigInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("size_micros", BigInteger, nullable=False),
    Column("tick_micros", BigInteger, nullable=False),
    Column("fee_rate_micros", BigInteger, nullable=False),
    Column("fee_exponent", SmallInteger, nullable=False),
    Column("order_type", Text, nullable=False),
    Column("post_only", Boolean, nullable=False),
    Column("expires_at_s", BigInteger, nullable=False, server_default=text("0")),
    Column("class", Text, nullable=False),
    Column("origin", Text, nullable=False, server_default=text("'other'::text")),
    Column("strategy", Text, nullable=False, server_default=text("''::text")),
    Column("context", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("key", Text, nullable=False),
    Column("set_id", BigInteger),
    Column("replaces_order_id", BigInteger),
    Column(
        "salt",
        BigInteger,
        nullable=False,
        comment=(
            "Of the signed order; fixed with the intent, so that signing again gives the "
            "same bytes and the same id."
        ),
    ),
    Column(
        "signed_at_ms",
        BigInteger,
        nullable=False,
        comment="The timestamp field of the signed order, fixed with the intent.",
    ),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False, server_default=text("''::text")),
    Column("venue_order_id", Text),
    Column(
        "size_matched_micros",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment=(
            "Largest matched size seen in any read or order event: monotone, since events "
            "are not ordered."
        ),
    ),
    Column(
        "traded_micros",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Sum of its fills, failed ones included.",
    ),
    Column("confirmed_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("failed_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column(
        "fate_open",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment=(
            "An earlier attempt ended without a definite answer, and no evidence has settled "
            "it since."
        ),
    ),
    Column(
        "seen_at_venue",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment=(
            "The venue has shown or said (Duplicated) that it knows the id: absence can "
            "never be concluded."
        ),
    ),
    Column(
        "last_deadline",
        DateTime(timezone=True),
        comment=(
            "Latest (send_by + request timeout) of any attempt; the quarantine counts from here."
        ),
    ),
    Column("cancel_asked_at", DateTime(timezone=True)),
    Column("cancel_reason", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("state_at", DateTime(timezone=True), nullable=False),
    Column(
        "crossed",
        Boolean,
        comment=(
            "Whether it would have traded at once with the last good book when it was admitted; "
            "NULL without one."
        ),
    ),
    ForeignKeyConstraint(
        ["market_id", "outcome"], ["ledger.outcome.market_id", "ledger.outcome.outcome"]
    ),
    Index("orders_by_id", "order_id"),
    Index(
        "orders_by_venue_id",
        "account_id",
        "venue_order_id",
        unique=True,
        postgresql_where=text("(venue_order_id IS NOT NULL)"),
    ),
    Index(
        "orders_not_ended",
        "account_id",
        "market_id",
        "order_id",
        postgresql_where=text(
            "(state <> ALL (ARRAY['FILLED'::text, 'CANCELLED'::text, 'EXPIRED'::text, "
            "'REJECTED'::text, 'NOT_PLACED'::text]))"
        ),
    ),
    Index("orders_of_market", "account_id", "market_id", "order_id"),
    Index(
        "orders_unresolved",
        "account_id",
        "state_at",
        postgresql_where=text(
            "(state = ANY (ARRAY['SENDING'::text, 'UNKNOWN'::text, 'DELAYED'::text]))"
        ),
    ),
)

reservation = Table(
    "reservation",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("market_id", BigInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("side", Text, nullable=False),
    Column(
        "phase",
        Text,
        nullable=False,
        comment=(
            "pending until the venue is known to have it, open while it lives, settling "
            "while ended but not all booked."
        ),
    ),
    Column("shares_micros", BigInteger, nullable=False, comment="Could still be filled."),
    Column("awaiting_micros", BigInteger, nullable=False),
    Column("asset", Text, nullable=False),
    Column("held_micros", BigInteger, nullable=False),
    Column("awaiting_since", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("released_at", DateTime(timezone=True)),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index(
        "reservation_standing",
        "account_id",
        "market_id",
        postgresql_where=text("(phase <> 'released'::text)"),
    ),
)

signed_order = Table(
    "signed_order",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("venue_order_id", Text, nullable=False),
    Column(
        "body",
        LargeBinary,
        nullable=False,
        comment=(
            "The exact bytes to send, but for owner (the API key id), which is filled at "
            "sending and kept per attempt."
        ),
    ),
    Column(
        "fields",
        JSONB,
        nullable=False,
        comment=(
            "The eleven signed fields, exchange, domain version, chain id, signature and "
            "signature type."
        ),
    ),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("signed_by", Uuid, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    UniqueConstraint("account_id", "venue_order_id"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("incarnation", Uuid, nullable=False),
    Column("owner", Text, nullable=False, server_default=text("''::text")),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("send_by", DateTime(timezone=True), nullable=False),
    Column("deadline", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False, server_default=text("'open'::text")),
    Column("code", Text, nullable=False, server_default=text("''::text")),
    Column("answer", Text),
    Column("ended_at", DateTime(timezone=True)),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index(
        "attempt_one_open",
        "account_id",
        "order_id",
        unique=True,
        postgresql_where=text("(outcome = 'open'::text)"),
    ),
    Index(
        "attempt_open", "account_id", "deadline", postgresql_where=text("(outcome = 'open'::text)")
    ),
)

fill = Table(
    "fill",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("trade_id", Text, primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("market_id", BigInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("side", Text, nullable=False),
    Column("size_micros", BigInteger, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column(
        "cash_micros",
        BigInteger,
        nullable=False,
        comment="Collateral of the fill before the fee: rounded up for a BUY, down for a SELL.",
    ),
    Column("fee_micros", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "fee_rank",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment=(
            "Which status said the fee: 0 none so far, 1 MATCHED, 2 MINED or RETRYING, 3 FAILED, "
            "4 CONFIRMED. A higher one corrects a lower one; of two alike the higher fee stands. "
            "So any order of arrival gives the same fee."
        ),
    ),
    Column(
        "settlement",
        Text,
        nullable=False,
        comment=(
            "provisional (MATCHED, MINED, RETRYING), confirmed or failed. confirmed outranks "
            "failed: tokens moved."
        ),
    ),
    Column("raw_status", Text, nullable=False),
    Column("is_maker", Boolean, nullable=False),
    Column("matched_at", DateTime(timezone=True), nullable=False),
    Column(
        "contradicted_at",
        DateTime(timezone=True),
        comment=(
            "When it had been heard to be both confirmed and failed. Journaled, told as drift, and "
            "the market halted, once."
        ),
    ),
    Column(
        "settled_at",
        DateTime(timezone=True),
        comment=(
            "When its settlement was heard, which may be long after the match: the venue's "
            "balances lag behind it."
        ),
    ),
    Column("liquidity", Text, nullable=False),
    Column(
        "liquidity_source",
        Text,
        nullable=False,
        comment=(
            "How liquidity is known: the order was post-only, it crossed the book or could not rest, "
            "or the venue said so."
        ),
    ),
    Column(
        "basis_micros",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment=(
            "Collateral micros it added to what the position cost: a BUY its cost, a SELL, below "
            "zero, its part of the average."
        ),
    ),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index("fill_of_market", "account_id", "market_id"),
    Index("fill_of_order", "account_id", "order_id"),
    Index(
        "fill_unsettled",
        "account_id",
        "matched_at",
        postgresql_where=text("(settlement = 'provisional'::text)"),
    ),
)

evidence = Table(
    "evidence",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("evidence_id", BigInteger, Identity(always=True), primary_key=True),
    Column("order_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column(
        "started_at",
        DateTime(timezone=True),
        nullable=False,
        comment=(
            "When the look-up began: a read that began before the quarantine ended proves nothing."
        ),
    ),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("incarnation", Uuid),
    Column("owner", Text, nullable=False, server_default=text("''::text")),
    Column("detail", Text, nullable=False, server_default=text("''::text")),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index("evidence_of_order", "account_id", "order_id", "kind"),
)

replacement = Table(
    "replacement",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("replacement_id", BigInteger, primary_key=True),
    Column("old_order_id", BigInteger, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("filled_at_ask", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("new_order_id", BigInteger),
    Column("code", Text, nullable=False, server_default=text("''::text")),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    ForeignKeyConstraint(
        ["account_id", "old_order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index(
        "replacement_waiting",
        "account_id",
        "old_order_id",
        unique=True,
        postgresql_where=text("(state = 'waiting'::text)"),
    ),
)

foreign_order = Table(
    "foreign_order",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("venue_order_id", Text, primary_key=True),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("last_seen_at", DateTime(timezone=True), nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("resolution", Text),
    Column("resolved_by", NAME),
    Column("resolved_at", DateTime(timezone=True)),
)
