"""The order's life as data.

As ledger/sql/tables/state_machine.sql.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Table, Text

from app.db.tables.base import metadata

order_state = Table(
    "order_state",
    metadata,
    Column("state", Text, primary_key=True),
    Column("ended", Boolean, nullable=False),
    Column("sent", Boolean, nullable=False, comment="A copy may be at the venue."),
    Column("meaning", Text, nullable=False),
)

order_event = Table(
    "order_event",
    metadata,
    Column("event", Text, primary_key=True),
    Column("meaning", Text, nullable=False),
)

transition = Table(
    "transition",
    metadata,
    Column("from_state", Text, ForeignKey("ledger.order_state.state"), primary_key=True),
    Column("event", Text, ForeignKey("ledger.order_event.event"), primary_key=True),
    Column("to_state", Text, ForeignKey("ledger.order_state.state")),
)
