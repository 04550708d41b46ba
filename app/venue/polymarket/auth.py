"""The headers that prove who asks (level 2: an HMAC with the API secret).

They are made anew for every attempt over the same body: the timestamp is part of what is signed,
and the body's bytes must be exactly those that are sent. Source: docs/venue.md 3.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final, Protocol

from app.errors import Code, LedgerError
from app.venue.polymarket.sealed import Sealed

_SENDABLE: Final = re.compile(r"[!-~](?:[ -~]{0,298}[!-~])?")
"""What a header can carry. Anything else would be refused while sending, with the text in the error."""


class Authenticates(Protocol):
    """Makes the headers of one request: an API key, or a proof that a key's owner asks (`l1`)."""

    def headers(
        self, *, address: str, timestamp_s: int, method: str, path: str, body: bytes = b""
    ) -> dict[str, str]:
        """They are secret or as good as a secret: never log them."""
        ...


class ApiCredentials(Sealed):
    """An API key: an id, which is public to us, and two secrets, which are shown nowhere."""

    __slots__ = ("__passphrase", "__secret", "__text", "key_id")

    def __init__(self, key_id: str, secret: str, passphrase: str) -> None:
        """``secret`` is base64 as the venue gave it; if not, ``SIGNING_FAILED`` without an echo."""
        # First, so that a half-made object in a traceback can still say its name.
        self.key_id = key_id
        decoded = _decode(secret)
        self.__text = secret
        # A traceback printed with its locals must not find the texts in this frame.
        del secret
        if not _SENDABLE.fullmatch(passphrase) or not _SENDABLE.fullmatch(key_id):
            del passphrase
            raise LedgerError(
                Code.SIGNING_FAILED,
                "the API key id or passphrase holds other than printable ASCII",
                not_done="nothing was signed",
                next_step="check the settings that hold them; their content is not shown here",
            )
        if not decoded:
            del passphrase
            raise LedgerError(
                Code.SIGNING_FAILED,
                "the API secret is not base64",
                not_done="nothing was signed",
                next_step="check the setting that holds it; its content is not shown here",
            )
        self.__secret = decoded
        self.__passphrase = passphrase

    def __repr__(self) -> str:
        return f"<ApiCredentials {self.key_id}>"

    def headers(
        self, *, address: str, timestamp_s: int, method: str, path: str, body: bytes = b""
    ) -> dict[str, str]:
        """Headers for one request. They hold the passphrase: never log them.

        ``address`` is the key's own address (EOA), also for a deposit wallet. ``path`` comes
        without its query string. ``body`` is what is sent, byte for byte.
        """
        return {
            "POLY_ADDRESS": address,
            "POLY_API_KEY": self.key_id,
            "POLY_PASSPHRASE": self.__passphrase,
            "POLY_SIGNATURE": self.signature(timestamp_s, method, path, body),
            "POLY_TIMESTAMP": str(timestamp_s),
        }

    def stream_auth(self) -> dict[str, str]:
        """What the user channel's first frame carries (docs/venue.md 6.1). Both secrets: never log it."""
        return {"apiKey": self.key_id, "secret": self.__text, "passphrase": self.__passphrase}

    def signature(self, timestamp_s: int, method: str, path: str, body: bytes = b"") -> str:
        """base64url(HMAC-SHA256(secret, timestamp + METHOD + path + body))."""
        message = f"{timestamp_s}{method}{path}".encode() + body
        digest = hmac.new(self.__secret, message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode()


def _decode(secret: str) -> bytes | None:
    """Both alphabets, padded or not. Strict: the lenient decoder drops what it does not know."""
    text = secret.strip().replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
