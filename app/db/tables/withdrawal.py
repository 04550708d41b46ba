"""Withdrawals, their transfers, attempts and what was seen of them. As ledger/sql/tables/withdrawal.sql."""

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
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from app.db.tables.base import NAME, metadata

_RUNNING = text("(state <> ALL (ARRAY['DONE'::text, 'COMPENSATED'::text, 'CANCELLED'::text]))")


def _of_a_withdrawal() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["account_id", "withdrawal_id"],
        ["ledger.withdrawal.account_id", "ledger.withdrawal.withdrawal_id"],
    )


withdrawal = Table(
    "withdrawal",
    metadata,
    Column("account_id", BigInteger, ForeignKey("ledger.account.account_id"), primary_key=True),
    Column("withdrawal_id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("destination", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("asked_by", NAME, nullable=False),
    Column("asked_as", Text, nullable=False, server_default=text("''::text")),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("drain_ms", BigInteger, nullable=False),
    Column("alarm_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_at", DateTime(timezone=True), nullable=False),
    Column("cause", Text, nullable=False, server_default=text("''::text")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column(
        "fate_open",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment=(
            "Some attempt may have moved the money: no refusal of a later one proves that none has."
        ),
    ),
    Column(
        "last_deadline",
        DateTime(timezone=True),
        comment="After it no copy sent so far can be carried out any more.",
    ),
    Column("reference", Text, comment="How whoever carries it out calls the transfer."),
    Column(
        "alarm_at",
        DateTime(timezone=True),
        comment="When a person is called if nothing has moved on by then.",
    ),
    Column(
        "needs_person_since",
        DateTime(timezone=True),
        comment=(
            "Since then it goes no step further by itself; what is seen of a transfer under way "
            "still counts."
        ),
    ),
    Column("needs_person_why", Text),
    Column("claimed_by", UUID),
    Column("claimed_until", DateTime(timezone=True)),
    Column("claim_no", BigInteger, nullable=False, server_default=text("0")),
    Column("next_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("account_id", "key"),
    Index("withdrawal_running", "account_id", unique=True, postgresql_where=_RUNNING),
    Index("withdrawal_due", "next_at", postgresql_where=_RUNNING),
    comment=(
        "From STOPPING until its end a withdrawal pauses its account: nothing is reserved or "
        "sent, and what stands is cancelled."
    ),
)

withdrawal_transfer = Table(
    "withdrawal_transfer",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("withdrawal_id", BigInteger, primary_key=True),
    Column("treasury", Text, nullable=False),
    Column(
        "repeatable",
        Boolean,
        nullable=False,
        comment="The same bytes move the money once, however often they are sent.",
    ),
    Column("hash", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("prepared_at", DateTime(timezone=True), nullable=False),
    Column("prepared_by", UUID, nullable=False),
    _of_a_withdrawal(),
    comment=(
        "The bytes of the one transfer, stored with the debit and before anything is sent. Never "
        "changed."
    ),
)

withdrawal_attempt = Table(
    "withdrawal_attempt",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("withdrawal_id", BigInteger, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("incarnation", UUID, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("send_by", DateTime(timezone=True), nullable=False),
    Column("deadline", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False, server_default=text("'open'::text")),
    Column("code", Text, nullable=False, server_default=text("''::text")),
    Column("answer", Text, nullable=False, server_default=text("''::text")),
    Column("ended_at", DateTime(timezone=True)),
    _of_a_withdrawal(),
)

withdrawal_evidence = Table(
    "withdrawal_evidence",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("withdrawal_id", BigInteger, primary_key=True),
    Column("evidence_id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=text("''::text")),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("last_seen_at", DateTime(timezone=True), nullable=False),
    Column("times", BigInteger, nullable=False, server_default=text("1")),
    _of_a_withdrawal(),
    comment="What was read of a transfer. The same finding in a row is counted, not repeated.",
)
