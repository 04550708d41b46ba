"""The keys of one account at the venue, sealed: shown nowhere, copied nowhere, changed never."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from app.errors import BadInput, Code, LedgerError
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.sealed import Sealed
from app.venue.polymarket.signing import Signer

API_FIELDS: Final = ("api_key", "api_secret", "api_passphrase")
FIELDS: Final = ("private_key", *API_FIELDS)
"""Names of the fields in a secret document, and of the settings after ``LEDGER_``."""


class VenueSecrets(Sealed):
    """What signs and what authenticates. Holds key objects where it can, and no text of the signing key."""

    __slots__ = ("__credentials", "__signer")

    __signer: Signer
    __credentials: ApiCredentials | None

    def __init__(self, signer: Signer, credentials: ApiCredentials | None) -> None:
        object.__setattr__(self, "_VenueSecrets__signer", signer)
        object.__setattr__(self, "_VenueSecrets__credentials", credentials)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("secrets are not changed; read them anew")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("secrets are not changed; read them anew")

    @property
    def signer(self) -> Signer:
        """Signs orders and proofs of ownership."""
        return self.__signer

    @property
    def has_api_key(self) -> bool:
        return self.__credentials is not None

    @property
    def credentials(self) -> ApiCredentials:
        """Authenticates requests. Raises `BadInput` with ``BAD_SETTING`` if there is no API key yet."""
        if self.__credentials is None:
            raise BadInput(
                Code.BAD_SETTING,
                "the secrets hold a private key and no API key",
                not_done="nothing was asked of the venue",
                next_step="make an API key for it (docs/going-live.md) and store its three parts",
            )
        return self.__credentials


@dataclass(frozen=True, slots=True, repr=False)
class SecretSet:
    """One reading of a source."""

    current: VenueSecrets
    previous: ApiCredentials | None = None
    """The API key before the last rotation, where the source still knows it."""


def secrets_of(document: Mapping[str, str], where: str) -> VenueSecrets:
    """The keys in a document of `FIELDS`. ``where`` names its place in errors, which echo nothing.

    Errors, all ``BAD_SETTING``: the private key is missing or no key; some parts of the API key are
    there and others not; its secret is not base64.
    """
    given = {name: str(document.get(name) or "").strip() for name in FIELDS}
    if not given["private_key"]:
        raise _wrong(where, "there is no private_key")
    try:
        signer = Signer.from_key(given["private_key"])
    except LedgerError:
        raise _wrong(where, "private_key is not 64 hex digits of a key") from None
    missing = [name for name in API_FIELDS if not given[name]]
    if len(missing) == len(API_FIELDS):
        return VenueSecrets(signer, None)
    return VenueSecrets(signer, credentials_of(given, where))


def credentials_of(document: Mapping[str, str], where: str) -> ApiCredentials:
    """The API key in a document; ``BAD_SETTING`` if a part is missing or cannot be one."""
    given = {name: str(document.get(name) or "").strip() for name in API_FIELDS}
    if missing := [name for name in API_FIELDS if not given[name]]:
        raise _wrong(where, f"the API key lacks {', '.join(missing)}")
    try:
        return ApiCredentials(given["api_key"], given["api_secret"], given["api_passphrase"])
    except LedgerError:
        raise _wrong(where, "api_secret is not base64") from None


def _wrong(where: str, wrong: str) -> BadInput:
    return BadInput(
        Code.BAD_SETTING,
        f"{where}: {wrong}",
        not_done="no key was taken from it",
        next_step="correct the secret where it is kept; its content is not shown here",
    )
