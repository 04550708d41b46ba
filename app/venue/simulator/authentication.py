"""Who asks: level 1 (a signature of the address's key) and level 2 (an HMAC with the API secret)."""

from __future__ import annotations

import hmac
import re
from typing import Final

from app.errors import LedgerError
from app.venue.polymarket.encoding import parse_address
from app.venue.simulator.accounts import Accounts, ApiKey, spelled
from app.venue.simulator.messages import Request
from app.venue.simulator.settings import Settings
from app.venue.simulator.signatures import auth_signer

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}")


def level2(request: Request, accounts: Accounts, settings: Settings, now_s: int) -> ApiKey | None:
    """The API key whose secret signed this request; None if none did.

    The signature covers timestamp, method, path without its query, and the exact body.
    """
    headers = request.headers
    key = accounts.keys.get(headers.get("poly_api_key", ""))
    timestamp = headers.get("poly_timestamp", "")
    if key is None or not _fresh(timestamp, settings, now_s):
        return None
    wanted = key.credentials.signature(int(timestamp), request.method, request.path, request.body)
    same = (
        _same(headers.get("poly_signature", ""), wanted),
        _same(headers.get("poly_passphrase", ""), key.passphrase),
        _address(headers.get("poly_address", "")) == key.address,
    )
    return key if all(same) else None


def level1(request: Request, settings: Settings, now_s: int) -> tuple[str, int] | None:
    """(address, nonce) that asks for an API key with a signature of its own; None if unproven."""
    headers = request.headers
    address, timestamp = headers.get("poly_address", ""), headers.get("poly_timestamp", "")
    nonce, signature = headers.get("poly_nonce", "0"), headers.get("poly_signature", "")
    name = _address(address)
    wellformed = _DIGITS.fullmatch(nonce) and _SIGNATURE.fullmatch(signature)
    if name is None or not wellformed or not _fresh(timestamp, settings, now_s):
        return None
    signer = auth_signer(
        parse_address(name), timestamp, int(nonce), settings.chain_id, bytes.fromhex(signature[2:])
    )
    return (name, int(nonce)) if signer == name else None


def _fresh(timestamp: str, settings: Settings, now_s: int) -> bool:
    if not _DIGITS.fullmatch(timestamp):
        return False
    return not settings.auth_skew_s or abs(int(timestamp) - now_s) <= settings.auth_skew_s


def _address(text: str) -> str | None:
    try:
        return spelled(text)
    except LedgerError:
        return None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
