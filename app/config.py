"""Settings: the environment with the prefix ``LEDGER_`` and a ``.env`` file, checked before anything starts.

The table in ``docs/configuration.md`` is generated from this class. Secrets are `SecretStr`: their
repr and every log line show asterisks. Where the venue's secrets come from instead of the
environment is a setting too; `app.secrets` fetches them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from app.addresses import is_loopback, is_sealed
from app.errors import BadInput, Code
from app.roles import RolePrefix

_OF_ONE_VENUE: Final = (
    "polymarket_clob_url",
    "polymarket_ws_url",
    "polymarket_market_ws_url",
    "polymarket_gamma_url",
    "polymarket_data_url",
)
"""What a venue of one's own serves in Polymarket's stead. The site only says where we are."""

_ADDRESSES: Final = {
    name: "wss" if "_ws_" in name else "https" for name in (*_OF_ONE_VENUE, "polymarket_site_url")
}
_PASSWORD: Final = re.compile(r"//[^/@]*:[^/@]+@|[?&]password=")


class Settings(BaseSettings):
    """Everything that can be set. Unset means the default shown."""

    model_config = SettingsConfigDict(
        env_prefix="LEDGER_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        hide_input_in_errors=True,
    )

    env: Literal["base", "dev", "prod"] = Field(
        "base", description="Which set of defaults; prod logs JSON always."
    )
    database_url: SecretStr | None = Field(
        None, description="Postgres to use (postgresql://...). Unset: the embedded server."
    )
    data_dir: str | None = Field(
        None,
        description="Home of the embedded server. Unset: /var/lib/ledger for root, else the user's data folder.",
    )
    role_prefix: str = Field("ledger_", description="Prefix of the database roles.")
    venue: Literal["paper", "polymarket"] = Field("paper", description="Where orders go.")
    live: bool = Field(
        False,
        description="Must be 1 for real money; not needed where every address of the venue is a loopback one.",
    )
    account: str = Field("main", description="The account used where a command names none.")
    accounts: str = Field(
        "",
        description="Accounts a worker serves, separated by commas. Empty: all of its venue it holds keys for.",
    )
    paper_collateral: str = Field(
        "10000", description="Opening collateral of a new paper account, in pUSD."
    )
    paper_seed: int = Field(1, description="Seed of the paper venue's made-up books and fills.")
    paper_settle_ms: int = Field(
        1000, ge=0, le=600_000, description="How long paper settlements take, in milliseconds."
    )
    quarantine_ms: int = Field(
        120_000,
        ge=100,
        le=86_400_000,
        description="Paper and new accounts: how long an order's fate stays open before absence may be concluded.",
    )
    request_timeout_ms: int = Field(
        10_000, ge=100, le=60_000, description="How long a venue request may take."
    )
    claim_lease_ms: int = Field(
        5_000, ge=1_000, le=120_000, description="How long a worker's claim lives without renewal."
    )
    poll_ms: int = Field(
        100, ge=5, le=10_000, description="How often a worker looks for work when nothing wakes it."
    )
    reconcile_every_s: int = Field(
        300, ge=1, le=86_400, description="Pause between periodic reconciliations."
    )
    rewards: bool = Field(
        True, description="Read rewards and rebates from the venue in each periodic comparison."
    )
    cancel_on_stop: bool = Field(False, description="Cancel open orders at a graceful stop.")
    private_key: SecretStr | None = Field(
        None, description="Signing key (0x...). Only the worker needs it."
    )
    funder: str | None = Field(None, description="Wallet that holds the funds (maker address).")
    signature_type: int = Field(
        0, ge=0, le=3, description="0 EOA, 1 proxy, 2 safe, 3 deposit wallet."
    )
    api_key: SecretStr | None = Field(None, description="Venue API key id.")
    api_secret: SecretStr | None = Field(None, description="Venue API secret.")
    api_passphrase: SecretStr | None = Field(None, description="Venue API passphrase.")
    relayer_api_key: SecretStr | None = Field(
        None,
        description="Relayer API key of the signing key: for withdrawals from a deposit wallet alone.",
    )
    previous_api_key: SecretStr | None = Field(
        None, description="The API key before the last rotation: for orders it sent."
    )
    previous_api_secret: SecretStr | None = Field(None, description="Its secret.")
    previous_api_passphrase: SecretStr | None = Field(None, description="Its passphrase.")
    secrets: Literal["env", "vault", "aws"] = Field(
        "env", description="Where the venue's keys come from; env: from the settings above."
    )
    secrets_refresh_s: int = Field(
        300,
        ge=0,
        le=86_400,
        description="Pause between readings anew of the keys; 0: only on SIGHUP.",
    )
    secrets_timeout_ms: int = Field(
        5_000, ge=100, le=60_000, description="How long Vault or AWS may take to answer."
    )
    vault_addr: str | None = Field(
        None, description="Address of Vault; https, or http to a loopback address."
    )
    vault_namespace: str | None = Field(None, description="Namespace, where Vault has them.")
    vault_mount: str = Field("secret", description="Where the key-value engine is mounted.")
    vault_kv: int = Field(2, ge=1, le=2, description="Version of the key-value engine.")
    vault_path: str | None = Field(None, description="Path of the secret below the mount.")
    vault_token: SecretStr | None = Field(None, description="Token to read it with.")
    vault_token_file: str | None = Field(
        None, description="File that holds the token, read anew each time (an agent renews it)."
    )
    vault_role_id: str | None = Field(None, description="AppRole to log in as, without a token.")
    vault_secret_id: SecretStr | None = Field(None, description="Secret id of the AppRole.")
    vault_ca_file: str | None = Field(
        None, description="Authority that signed Vault's certificate."
    )
    aws_secret_id: str | None = Field(
        None, description="Name or ARN of the secret in AWS Secrets Manager."
    )
    aws_region: str | None = Field(
        None, description="Its region. Who we are to AWS is found the way boto3 finds it."
    )
    polymarket_clob_url: str = Field(
        "https://clob.polymarket.com", description="REST address of the order book."
    )
    polymarket_ws_url: str = Field(
        "wss://ws-subscriptions-clob.polymarket.com/ws/user",
        description="Full address of the user channel.",
    )
    polymarket_market_ws_url: str = Field(
        "wss://ws-subscriptions-clob.polymarket.com/ws/market",
        description="Full address of the market channel.",
    )
    polymarket_gamma_url: str = Field(
        "https://gamma-api.polymarket.com", description="Market metadata."
    )
    polymarket_data_url: str = Field(
        "https://data-api.polymarket.com", description="Positions and activity."
    )
    polymarket_site_url: str = Field(
        "https://polymarket.com", description="The site, which says whether we are geoblocked."
    )
    polymarket_ca_file: str | None = Field(
        None, description="Authority to trust besides the system's, for a venue of one's own."
    )
    heartbeat: bool = Field(
        False,
        description=(
            "Keep the venue's dead-man switch: it cancels everything when no worker beats for 10 s, "
            "also at a stop or a deployment."
        ),
    )
    foreign_orders: Literal["halt", "cancel"] = Field(
        "halt",
        description=(
            "Orders at the venue that no intent explains. Both halt the account; cancel also cancels them there."
        ),
    )
    unconfirmed_alarm_s: int = Field(
        120, ge=1, le=86_400, description="Age of an unsettled fill that raises an alarm."
    )
    unconfirmed_halt_s: int = Field(
        900, ge=1, le=604_800, description="Age of an unsettled fill that halts its market."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["auto", "json", "human"] = Field(
        "auto", description="auto: human on a terminal, JSON elsewhere."
    )

    @field_validator("role_prefix")
    @classmethod
    def _prefix_is_plain(cls, value: str) -> str:
        return RolePrefix(value).text

    @model_validator(mode="after")
    def _nothing_travels_in_the_open(self) -> Settings:
        if self.venue == "polymarket":
            for name, scheme in _ADDRESSES.items():
                if not is_sealed(getattr(self, name), scheme):
                    raise BadInput(
                        Code.BAD_SETTING,
                        f"LEDGER_{name.upper()} is neither {scheme} nor a loopback address: keys and orders would "
                        "travel in the open",
                        not_done="nothing was started",
                        next_step=f"use {scheme}; for a venue of your own with LEDGER_POLYMARKET_CA_FILE",
                    )
        return self

    @model_validator(mode="after")
    def _real_money_is_switched_on(self) -> Settings:
        # One address outside is enough: the user channel alone is sent the API secret.
        outside = [name for name in _OF_ONE_VENUE if not is_loopback(getattr(self, name))]
        if self.venue == "polymarket" and not self.live and outside:
            names = ", ".join(f"LEDGER_{name.upper()}" for name in outside)
            raise BadInput(
                Code.LIVE_NOT_ALLOWED,
                f"LEDGER_VENUE is polymarket, LEDGER_LIVE is not set, and not on this machine: {names}",
                not_done="nothing was started",
                next_step="set LEDGER_LIVE=1 to trade with real money, or LEDGER_VENUE=paper",
            )
        return self


def load_settings() -> Settings:
    """The settings of this process, or `BadInput` that names each setting that is wrong, never its value."""
    _check_text()
    try:
        _check_env_file()
        return Settings()
    except UnicodeDecodeError:
        raise _not_text("the file .env") from None
    except ValidationError as error:
        wrong = "; ".join(
            f"LEDGER_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        )
        raise BadInput(
            Code.BAD_SETTING,
            wrong,
            not_done="nothing was started",
            next_step="docs/configuration.md lists every setting",
        ) from None


def _check_text() -> None:
    """A byte that is no UTF-8 would pass for text until the database or an address refuses it."""
    for name, value in os.environ.items():
        if name.upper().startswith("LEDGER_") and any("\ud800" <= c <= "\udfff" for c in value):
            raise _not_text(name)


def _check_env_file() -> None:
    """Keys in a ``.env`` that others on this machine may read are not taken: they may be others' already."""
    path = Path(str(Settings.model_config.get("env_file")))
    try:
        shared = path.stat().st_mode & 0o077
    except OSError:
        return
    if not shared:
        return
    told = DotEnvSettingsSource(Settings).env_vars
    held = sorted(name.upper() for name, value in told.items() if _is_secret(name, value))
    if held:
        raise BadInput(
            Code.BAD_SETTING,
            f"the file .env holds {', '.join(held)}, and others than its owner may read or write it",
            not_done="nothing was started",
            next_step="chmod 600 .env, and if others had access to this machine, change these keys",
        )


def _is_secret(name: str, value: str | None) -> bool:
    field = Settings.model_fields.get(name.lower().removeprefix("ledger_"))
    if not value or not name.lower().startswith("ledger_") or field is None:
        return False
    if name.lower() == "ledger_database_url":
        return _PASSWORD.search(value) is not None
    return "SecretStr" in str(field.annotation)


def _not_text(what: str) -> BadInput:
    return BadInput(
        Code.BAD_KEY if what.upper() == "LEDGER_PRIVATE_KEY" else Code.BAD_SETTING,
        f"{what} is not UTF-8 text",
        not_done="nothing was started",
        next_step="write it in UTF-8",
    )
