"""Where an address leads, and whether what is sent there can be read on the way."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_SEALED: Final = {"https": "https", "http": "https", "wss": "wss", "ws": "wss"}


def is_loopback(url: str) -> bool:
    """Whether it leads to this machine."""
    parts = _parts(url)
    return parts is not None and parts.hostname in LOOPBACK


def is_sealed(url: str, scheme: str) -> bool:
    """Whether nobody on the way can read along: TLS (``scheme`` is https or wss), or this machine."""
    parts = _parts(url)
    if parts is None or _SEALED.get(parts.scheme) != scheme or not parts.hostname:
        return False
    return parts.scheme == scheme or parts.hostname in LOOPBACK


def _parts(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
