"""Polymarket: the venue's condition, what it says is owned, and comparisons after its episodes."""

from __future__ import annotations

from migrations import frozen

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    frozen.run("0002_upgrade.sql")


def downgrade() -> None:
    frozen.run("0002_downgrade.sql")
