"""The database roles by their names without prefix, and the prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.errors import BadInput, Code

ROLES: Final = ("owner", "worker", "trader", "risk", "auditor")


@dataclass(frozen=True, slots=True)
class RolePrefix:
    """Roles belong to the whole server, so two ledgers on one server use two prefixes."""

    text: str = "ledger_"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", self.text):
            raise BadInput(
                Code.BAD_SETTING,
                f"role prefix {self.text[:40]!r} is not lower-case letters, digits and underscores",
                not_done="nothing was changed in the database",
                next_step="set LEDGER_ROLE_PREFIX to something like ledger_",
            )

    def role(self, name: str) -> str:
        return self.text + name
