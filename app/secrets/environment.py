"""Keys from the settings: the environment and ``.env``. The default."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr

from app.config import Settings, load_settings
from app.secrets.documents import framed
from app.secrets.types import SecretSet, credentials_of, secrets_of


class EnvironmentSource:
    """First what the process was started with, then the settings anew each time.

    A running process sees a changed ``.env``; its environment nobody can change from outside.
    """

    place = "the settings"

    def __init__(self, given: Settings, load: Callable[[], Settings] = load_settings) -> None:
        self._given: Settings | None = given
        self._load = load

    def read(self) -> SecretSet:
        return framed(self._read)

    def _read(self) -> SecretSet:
        settings = self._load() if self._given is None else self._given
        self._given = None
        current = secrets_of(
            {
                "private_key": _text(settings.private_key),
                "api_key": _text(settings.api_key),
                "api_secret": _text(settings.api_secret),
                "api_passphrase": _text(settings.api_passphrase),
            },
            "LEDGER_PRIVATE_KEY and LEDGER_API_*",
        )
        previous = {
            "api_key": _text(settings.previous_api_key),
            "api_secret": _text(settings.previous_api_secret),
            "api_passphrase": _text(settings.previous_api_passphrase),
        }
        if not any(previous.values()):
            return SecretSet(current)
        return SecretSet(current, credentials_of(previous, "LEDGER_PREVIOUS_API_*"))


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
