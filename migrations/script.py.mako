"""${message}"""

from __future__ import annotations

from migrations import frozen

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    frozen.run("${up_revision}_upgrade.sql")


def downgrade() -> None:
    frozen.run("${up_revision}_downgrade.sql")
