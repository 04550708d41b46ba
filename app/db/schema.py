"""Which SQL files make the schema, in which order, and how role names are filled in.

The files are the truth; a revision carries its own frozen copy, and a test compares the two
results.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

from app.roles import ROLES, RolePrefix

APP: Final = Path(__file__).resolve().parent.parent

FILES: Final[tuple[str, ...]] = (
    "db/sql/roles.sql",
    "db/sql/timeouts.sql",
    "ledger/sql/tables/reference.sql",
    "ledger/sql/tables/state_machine.sql",
    "ledger/sql/tables/exposure.sql",
    "ledger/sql/tables/orders.sql",
    "ledger/sql/tables/outbox.sql",
    "ledger/sql/tables/journal.sql",
    "ledger/sql/tables/venue.sql",
    "ledger/sql/tables/holdings.sql",
    "ledger/sql/tables/risk.sql",
    "ledger/sql/tables/withdrawal.sql",
    "ledger/sql/tables/pnl.sql",
    "ledger/sql/functions/base.sql",
    "ledger/sql/functions/journal.sql",
    "ledger/sql/functions/limits.sql",
    "ledger/sql/functions/reserve.sql",
    "ledger/sql/functions/withdraw.sql",
    "ledger/sql/functions/transfer.sql",
    "ledger/sql/functions/risk.sql",
    "ledger/sql/functions/totals.sql",
    "ledger/sql/functions/books.sql",
    "ledger/sql/functions/breakers.sql",
    "ledger/sql/functions/breach.sql",
    "ledger/sql/functions/settle.sql",
    "ledger/sql/functions/attempts.sql",
    "ledger/sql/functions/liquidity.sql",
    "ledger/sql/functions/facts.sql",
    "ledger/sql/functions/evidence.sql",
    "ledger/sql/functions/cancel.sql",
    "ledger/sql/functions/replace.sql",
    "ledger/sql/functions/venue.sql",
    "ledger/sql/functions/holdings.sql",
    "ledger/sql/functions/rewards.sql",
    "ledger/sql/functions/outbox.sql",
    "ledger/sql/functions/mutex.sql",
    "ledger/sql/functions/pnl.sql",
    "ledger/sql/functions/watch.sql",
    "ledger/sql/functions/setup.sql",
    "ledger/sql/functions/events.sql",
    "ledger/sql/functions/queries.sql",
    "ledger/sql/functions/defaults.sql",
    "venue/paper/sql/schema.sql",
    "withdrawal/sql/tables/paper.sql",
    "ledger/sql/views/audit.sql",
    "ledger/sql/views/history.sql",
    "ledger/sql/views/pnl.sql",
    "ledger/sql/views/risk.sql",
    "ledger/sql/views/venue.sql",
    "ledger/sql/views/withdrawals.sql",
    "ledger/sql/views/checks_base.sql",
    "ledger/sql/views/checks_orders.sql",
    "ledger/sql/views/checks_sending.sql",
    "ledger/sql/views/checks_books.sql",
    "ledger/sql/views/checks_history.sql",
    "ledger/sql/views/checks_rules.sql",
    "ledger/sql/views/checks_risk.sql",
    "ledger/sql/views/checks_withdrawals.sql",
    "ledger/sql/views/checks.sql",
    "db/sql/grants.sql",
    "venue/paper/sql/grants.sql",
)


def render(sql: str, prefix: RolePrefix) -> str:
    """Fill ``${role_...}`` and ``${prefix}``. Anything else with a dollar (bodies quoted by ``$$``)
    stays as it is.
    """
    values = {f"role_{name}": prefix.role(name) for name in ROLES} | {"prefix": prefix.text}
    return _Placeholders(sql).safe_substitute(values)


class _Placeholders(Template):
    # Only ${name}: plpgsql bodies are full of $$ and $1, which the standard pattern would eat.
    pattern = r"(?P<escaped>(?!))|(?P<named>(?!))|\$\{(?P<braced>[a-z_]+)\}|(?P<invalid>(?!))"  # type: ignore[assignment]


def schema_sql() -> str:
    """All files, in order, not yet rendered. To be run in one transaction."""
    parts = [f"-- file: {name}\n{(APP / name).read_text('utf-8')}" for name in FILES]
    return "\n".join([*parts, "RESET ROLE;\n"])
