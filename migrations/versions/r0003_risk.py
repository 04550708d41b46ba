"""Risk: limits on cost, price, time and totals, breakers, books, and both sides of every movement."""

from __future__ import annotations

from migrations import frozen

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    frozen.run("0003_upgrade.sql")


def downgrade() -> None:
    frozen.run("0003_downgrade.sql")
