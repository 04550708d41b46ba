"""Keys from HashiCorp Vault: one secret of a key-value engine, through the ``hvac`` package (extra ``vault``).

A token is taken from ``LEDGER_VAULT_TOKEN``, or anew for each reading from ``LEDGER_VAULT_TOKEN_FILE``
(an agent keeps it fresh there), or by an AppRole log-in. Nothing is taken from Vault's own
environment variables or a token file in a home folder: who reads is written in our settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from app.addresses import is_sealed
from app.config import Settings
from app.errors import BadInput, Code
from app.secrets.documents import fields_of, framed, previous_of, refused
from app.secrets.source import missing_extra, missing_settings
from app.secrets.types import SecretSet, secrets_of
from app.venue.polymarket.auth import ApiCredentials

_LOOK: Final = "check address, token, policy and path; contents and token are not shown here"


@dataclass(frozen=True, slots=True)
class VaultSource:
    """One secret. ``read`` opens a connection for itself and closes it."""

    address: str
    mount: str
    path: str
    kv: int
    namespace: str | None = None
    token: SecretStr | None = None
    token_file: str | None = None
    role_id: str | None = None
    secret_id: SecretStr | None = None
    ca_file: str | None = None
    timeout_s: float = 5.0
    hvac: Any = field(init=False, repr=False, compare=False)
    """The package; made sure of when the source is made, not when a key is missing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hvac", _hvac())

    @classmethod
    def of(cls, settings: Settings) -> VaultSource:
        """As the settings say. Raises ``BAD_SETTING``."""
        if not settings.vault_addr or not settings.vault_path:
            raise missing_settings("vault", "LEDGER_VAULT_ADDR", "LEDGER_VAULT_PATH")
        if not is_sealed(settings.vault_addr, "https"):
            raise BadInput(
                Code.BAD_SETTING,
                "LEDGER_VAULT_ADDR is neither https nor a loopback address",
                not_done="no key was read",
                next_step="use https: over http anybody on the way reads the keys",
            )
        login = settings.vault_role_id and settings.vault_secret_id
        if not (settings.vault_token or settings.vault_token_file or login):
            raise missing_settings(
                "vault",
                "none of LEDGER_VAULT_TOKEN, LEDGER_VAULT_TOKEN_FILE,"
                " LEDGER_VAULT_ROLE_ID with LEDGER_VAULT_SECRET_ID",
            )
        return cls(
            settings.vault_addr,
            settings.vault_mount,
            settings.vault_path.strip("/"),
            settings.vault_kv,
            namespace=settings.vault_namespace,
            token=settings.vault_token,
            token_file=settings.vault_token_file,
            role_id=settings.vault_role_id,
            secret_id=settings.vault_secret_id,
            ca_file=settings.vault_ca_file,
            timeout_s=settings.secrets_timeout_ms / 1000,
        )

    @property
    def place(self) -> str:
        return f"Vault {self.mount}/{self.path}"

    def read(self) -> SecretSet:
        return framed(self._ask)

    def _ask(self) -> SecretSet:
        # requests' errors are OSErrors; anything else is the program's fault and shows itself.
        errors = (self.hvac.exceptions.VaultError, OSError, ValueError)
        client: Any = None
        try:
            client = self._open()
            return self._read(client)
        except errors as error:
            # Without its text, and not chained: both may hold what was asked or answered.
            kind = type(error).__name__
        finally:
            if client is not None:
                client.adapter.close()
        raise refused(self.place, f"Vault did not hand it over ({kind})", _LOOK)

    def _open(self) -> Any:
        client = self.hvac.Client(
            url=self.address,
            token=self._token(),
            namespace=self.namespace,
            timeout=self.timeout_s,
            verify=self.ca_file or True,
            # A redirect would carry the token to wherever it points.
            allow_redirects=False,
        )
        if not client.token and self.role_id and self.secret_id:
            client.auth.approle.login(self.role_id, self.secret_id.get_secret_value())
        return client

    def _token(self) -> str:
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is None:
            return ""
        try:
            return Path(self.token_file).read_text("utf-8").strip()
        except (OSError, ValueError):
            raise refused(
                self.place, "LEDGER_VAULT_TOKEN_FILE cannot be read", "see that the agent writes it"
            ) from None

    def _read(self, client: Any) -> SecretSet:
        if self.kv == 1:
            answer = client.secrets.kv.v1.read_secret(path=self.path, mount_point=self.mount)
            return SecretSet(secrets_of(fields_of(_in(answer, "data"), self.place), self.place))
        answer = self._version(client, None)
        current = secrets_of(fields_of(_in(answer, "data", "data"), self.place), self.place)
        version = _in(answer, "data", "metadata", "version")
        if not current.has_api_key or not isinstance(version, int) or version < 2:
            return SecretSet(current)
        return SecretSet(current, self._previous(client, version - 1, current.credentials.key_id))

    def _previous(self, client: Any, version: int, current_key: str) -> ApiCredentials | None:
        """None where the version is gone, or cannot be read: an old key is a help, not a need."""
        try:
            answer = self._version(client, version)
            document = fields_of(_in(answer, "data", "data"), self.place)
            return previous_of(document, current_key, self.place)
        except (self.hvac.exceptions.VaultError, OSError, ValueError, BadInput):
            return None

    def _version(self, client: Any, version: int | None) -> Any:
        return client.secrets.kv.v2.read_secret_version(
            path=self.path,
            mount_point=self.mount,
            version=version,
            raise_on_deleted_version=True,
        )


def _in(value: Any, *names: str) -> Any:
    """What lies under nested names, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _hvac() -> Any:
    try:
        import hvac
    except ImportError:
        raise missing_extra("hvac", "vault") from None
    return hvac
