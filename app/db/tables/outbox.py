"""What is to be done at the venue, what came from it, and comparisons with it.

As ledger/sql/tables/outbox.sql.
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
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import NAME, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column(
        "outbox_id",
        BigInteger,
        primary_key=True,
        server_default=text("nextval('ledger.outbox_id_seq'::regclass)"),
    ),
    Column("market_id", BigInteger, nullable=False),
    Column("order_id", BigInteger, nullable=False),
    Column("set_id", BigInteger),
    Column("passes_block", Boolean, nullable=False),
    Column(
        "status",
        Text,
        nullable=False,
        comment=(
            "blocked: the order's fate is unknown; dead: it failed too often in our own "
            "hands; both block the lane until resolved or released by an operator. released: "
            "one of the two, and it holds nobody up."
        ),
    ),
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("claimed_by", Uuid),
    Column("claimed_until", DateTime(timezone=True)),
    Column("claim_no", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column(
        "released_at",
        DateTime(timezone=True),
        comment=(
            "When an operator let its lane go on without it. For good: whatever becomes of the "
            "order, it never holds up its lane again. Who and why stands in the journal "
            "(LANE_RELEASED)."
        ),
    ),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    UniqueConstraint("account_id", "order_id"),
    Index("outbox_claimed", "claimed_until", postgresql_where=text("(status = 'claimed'::text)")),
    Index(
        "outbox_lane",
        "account_id",
        "market_id",
        "outbox_id",
        postgresql_where=text(
            "((status = ANY (ARRAY['ready'::text, 'claimed'::text, 'blocked'::text, 'dead'::text]))"
            " AND (released_at IS NULL))"
        ),
    ),
    Index(
        "outbox_released",
        "account_id",
        "not_before",
        postgresql_where=text("((status = 'ready'::text) AND (released_at IS NOT NULL))"),
    ),
    Index(
        "outbox_looks",
        "account_id",
        "not_before",
        postgresql_where=text("(status = ANY (ARRAY['blocked'::text, 'released'::text]))"),
    ),
    Index(
        "outbox_passing",
        "account_id",
        "outbox_id",
        postgresql_where=text("(passes_block AND (status = 'ready'::text))"),
    ),
)

cancel_request = Table(
    "cancel_request",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("order_id", BigInteger, primary_key=True),
    Column("market_id", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_by", NAME, nullable=False),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False),
    Column(
        "next_at",
        DateTime(timezone=True),
        nullable=False,
        comment=(
            "When it is sent (again). Claiming pushes it ahead, so a dead claimer delays a "
            "cancel by seconds, never for ever."
        ),
    ),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("last_answer", Text),
    Column("answered_at", DateTime(timezone=True)),
    Column("claimed_by", Uuid),
    Column(
        "futile_tries",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment=(
            "Tries that came to nothing: no answer that could be understood, the request refused, "
            "or the order still at rest behind the answer. What only puts off does not count, and "
            "what a clean look-up does not show begins anew. From five on the cancel escalates."
        ),
    ),
    Column(
        "absent_reads",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment=(
            "Tries in a row that were answered, and behind which a clean look-up showed nothing. "
            "From five on it is sent each 30 s."
        ),
    ),
    Column(
        "wide_to",
        Text,
        comment="What was cancelled last with it: its whole market, or all of the account.",
    ),
    Column(
        "wide_at",
        DateTime(timezone=True),
        comment=(
            "When that was sent, unless it was put off. The next of the same is at least 30 s "
            "later."
        ),
    ),
    Column(
        "wide_tries",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="What futile_tries was then: the higher, the longer the pause.",
    ),
    ForeignKeyConstraint(
        ["account_id", "order_id"], ["ledger.orders.account_id", "ledger.orders.order_id"]
    ),
    Index("cancel_due", "account_id", "next_at", postgresql_where=text("(status = 'due'::text)")),
    Index("cancel_wide", "account_id", "wide_at", postgresql_where=text("(wide_at IS NOT NULL)")),
)

venue_event = Table(
    "venue_event",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("raw", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("applied_at", DateTime(timezone=True)),
    Column("problem", Text),
    Index(
        "venue_event_waiting",
        "account_id",
        "received_at",
        postgresql_where=text("(applied_at IS NULL)"),
    ),
)

cursor = Table(
    "cursor",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    comment="How far a reader of the venue has come: stream position, trades watermark (ms).",
)

receipt = Table(
    "receipt",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("dead_letter_id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("problem", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("retried_by", NAME),
    Column("retried_at", DateTime(timezone=True)),
)

reconcile_run = Table(
    "reconcile_run",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("incarnation", Uuid),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("result", Text),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("reconcile_run_open", "account_id", postgresql_where=text("(ended_at IS NULL)")),
)

drift = Table(
    "drift",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("drift_id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", BigInteger),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("ours", Text, nullable=False),
    Column("theirs", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("resolved_at", DateTime(timezone=True)),
    Column(
        "drift_class",
        Text,
        comment=(
            "resync: trading goes on while the ledger, or a person, takes over what the venue knows "
            "better. halt: trading stops until a person has looked. NULL, like the next two: told "
            "before release 0.2.0."
        ),
    ),
    Column(
        "after",
        Text,
        comment=(
            "What the ledger said when the comparison ended; ours is what it had said before."
        ),
    ),
    Column(
        "evidence",
        JSONB,
        comment=("What the venue showed and how it was answered: rows of lists, reads, the halt."),
    ),
)
