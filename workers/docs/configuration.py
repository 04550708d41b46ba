"""``docs/configuration.md`` from the settings class."""

from __future__ import annotations

import ast
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.config import Settings
from workers.docs.sources import GENERATED, modules, table

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Database": ("database_url", "data_dir", "role_prefix"),
    "Venue and account": (
        *("venue", "live", "account", "accounts", "cancel_on_stop"),
        *("private_key", "funder", "signature_type", "api_key", "api_secret", "api_passphrase"),
        *("previous_api_key", "previous_api_secret", "previous_api_passphrase"),
        "relayer_api_key",
    ),
    "Secrets from elsewhere": (
        *("secrets", "secrets_refresh_s", "secrets_timeout_ms"),
        *("vault_addr", "vault_namespace", "vault_mount", "vault_kv", "vault_path"),
        *("vault_token", "vault_token_file", "vault_role_id", "vault_secret_id", "vault_ca_file"),
        *("aws_secret_id", "aws_region"),
    ),
    "Paper venue": ("paper_collateral", "paper_seed", "paper_settle_ms"),
    "Times": (
        *("quarantine_ms", "request_timeout_ms", "claim_lease_ms"),
        *("poll_ms", "reconcile_every_s", "rewards"),
    ),
    "Polymarket addresses": (
        *("polymarket_clob_url", "polymarket_ws_url", "polymarket_market_ws_url"),
        *("polymarket_gamma_url", "polymarket_data_url", "polymarket_site_url"),
    ),
    "Logs and mode": ("env", "log_level", "log_format"),
}

_HEAD: Final = f"""{GENERATED}

# Configuration

Every setting comes from the environment, or from a file `.env` in the working folder; the environment wins. A
`.env` that holds keys and that others than its owner may read or write is refused (`chmod 600 .env`). With
`LEDGER_VENUE=polymarket` every address must be https or wss, or a loopback one, and `LEDGER_LIVE=1` is needed as soon
as one that serves the venue is elsewhere. Only the venue's keys may come from elsewhere, and only if `LEDGER_SECRETS`
says so. A value that cannot be right stops the command before anything starts, with the name of the setting and never
with its value (code `BAD_SETTING`).

Caps and burst limits are not settings: they are rows of the database with a change log, effective for the next decision
in every process (`ledger-worker limits`).

Secrets are shown as asterisks wherever they could be shown. None is stored in the database.
"""

_TESTS_ONLY: Final = {
    "LEDGER_TEST_DATABASE_URL": (
        "The server on which tests make their databases. Without it: Docker where a daemon answers, "
        "else the embedded one."
    ),
    "LEDGER_TEST_DATA_DIR": (
        "A folder with recorded market files and signing vectors. Tests that need it are skipped "
        "without it."
    ),
    "LEDGER_TEST_STOP_AT": (
        "`POINT:N` ends the worker with SIGKILL when it reaches that point of the send path for the "
        "Nth time."
    ),
}


def page(root: Path) -> str:
    """The page as Markdown."""
    used = _used(root)
    fields = dict(Settings.model_fields)
    parts = [_HEAD]
    for title, names in _groups(fields).items():
        rows = [_row(name, fields[name], name in used) for name in names]
        parts.append(f"## {title}\n\n{table(['variable', 'values', 'default', 'says'], rows)}\n")
    tests = [[f"`{name}`", says] for name, says in _TESTS_ONLY.items()]
    parts.append(f"## Only for tests\n\n{table(['variable', 'says'], tests)}\n")
    return "\n".join(parts)


def _used(root: Path) -> set[str]:
    """Settings that some module reads: ``settings.name``, or ``self.name`` in the class itself."""
    found = set()
    for module, tree in modules(root):
        holders = ("self",) if module == "app.config" else ("settings",)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(holders):
                found.add(node.attr)
    return found


def _groups(fields: dict[str, FieldInfo]) -> dict[str, list[str]]:
    groups = {title: [name for name in names if name in fields] for title, names in GROUPS.items()}
    placed = {name for names in groups.values() for name in names}
    rest = [name for name in fields if name not in placed]
    return groups | ({"More": rest} if rest else {})


def _row(name: str, field: FieldInfo, used: bool) -> list[str]:
    says = (field.description or "") + ("" if used else " *Not used by this release.*")
    if SecretStr in (field.annotation, *get_args(field.annotation)):
        says += " **Secret.**"
    return [f"`LEDGER_{name.upper()}`", _values(field), _default(field.default), says]


def _default(value: Any) -> str:
    if value is None or value == "" or value is PydanticUndefined:
        return ""
    return f"`{int(value) if isinstance(value, bool) else value}`"


def _values(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if kind is bool:
        return "`0`, `1`"
    if kind is int:
        bounds = {type(one).__name__: one for one in field.metadata}
        low = getattr(bounds.get("Ge"), "ge", None)
        high = getattr(bounds.get("Le"), "le", None)
        return f"{low} to {high}" if low is not None and high is not None else "whole number"
    return "text"
