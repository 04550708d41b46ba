"""Which backend the settings choose. Opening one asks nobody; reading does, and may take its time."""

from __future__ import annotations

from typing import Protocol

from app.config import Settings
from app.errors import BadInput, Code
from app.secrets.types import SecretSet


class SecretSource(Protocol):
    """A place where keys are kept."""

    @property
    def place(self) -> str:
        """What people call it, without anything secret."""
        ...

    def read(self) -> SecretSet:
        """Read anew. Blocks. Raises `BadInput` with ``BAD_SETTING`` and never echoes contents."""
        ...


def open_source(settings: Settings) -> SecretSource:
    """The source that ``LEDGER_SECRETS`` names. Raises ``BAD_SETTING`` if its settings or its extra are missing."""
    match settings.secrets:
        case "env":
            from app.secrets.environment import EnvironmentSource

            return EnvironmentSource(settings)
        case "vault":
            from app.secrets.vault import VaultSource

            return VaultSource.of(settings)
        case "aws":
            from app.secrets.aws import AwsSource

            return AwsSource.of(settings)


def missing_extra(package: str, extra: str) -> BadInput:
    """The error for an extra that is not installed."""
    return BadInput(
        Code.BAD_SETTING,
        f"LEDGER_SECRETS is {extra}, and the package {package} is not installed",
        not_done="no key was read",
        next_step=f'in the folder of the project: .venv/bin/python -m pip install ".[{extra}]"',
    )


def missing_settings(backend: str, *names: str) -> BadInput:
    """The error for settings that a backend cannot do without."""
    return BadInput(
        Code.BAD_SETTING,
        f"LEDGER_SECRETS is {backend}, and {' and '.join(names)} is not set",
        not_done="no key was read",
        next_step="docs/configuration.md lists every setting",
    )
