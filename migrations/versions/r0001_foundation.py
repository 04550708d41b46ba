"""Foundation: the whole schema of release 0.1.0."""

from __future__ import annotations

from migrations import frozen

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    frozen.run("0001_upgrade.sql")
    frozen.let_roles_read_the_version()


def downgrade() -> None:
    frozen.run("0001_downgrade.sql")
