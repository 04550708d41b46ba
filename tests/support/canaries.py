"""Secrets that sing: whatever form they leak in, a text or a row that holds one is found."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg

from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.l1 import KeyProof
from app.venue.polymarket.signing import Signer

SCHEMAS: Final = ("ledger", "audit", "paper")
_BEGIN: Final = 12
"""Letters by which a place is looked at more closely: shorter forms would be found everywhere."""


def _base64_of(raw: bytes) -> Iterator[str]:
    """What of a secret is always the same in base64, wherever in a longer text it begins."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The letters at both ends hold bits of the neighbours too.
        inner = text[(0, 2, 3)[before] : len(text) - (len(raw) + before) % 3 % 2 - 1]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def forms(secret: str | bytes) -> set[str]:
    """Every encoding in which a secret is looked for."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {raw.hex(), raw.hex().upper(), *_base64_of(raw)}
    if isinstance(secret, str):
        found |= {secret, secret.lower(), secret.upper(), secret[::-1]}
        found |= {urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1]}
    return {one for one in found if len(one) >= _BEGIN}


def of_private_key(text: str) -> dict[str, str | bytes]:
    """A key as text, as bytes, and as the number it is."""
    digits = text.removeprefix("0x")
    return {
        "private key": digits,
        "private key, bytes": bytes.fromhex(digits),
        "private key, number": str(int(digits, 16)),
    }


def of_api_key(key: Mapping[str, str]) -> dict[str, str | bytes]:
    """The two secrets of an API key; its id is none."""
    raw = base64.urlsafe_b64decode(key["secret"].replace("+", "-").replace("/", "_"))
    return {
        "API secret": key["secret"],
        "API secret, bytes": raw,
        "passphrase": key["passphrase"],
    }


class Canaries:
    """All secrets of a run. ``found_in`` names those that a text holds."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        self._begins: dict[str, list[tuple[str, str]]] = {}
        self.count = 0
        self.add(secrets)

    def add(self, secrets: Mapping[str, str | bytes]) -> None:
        for name, secret in secrets.items():
            for form in forms(secret):
                self._begins.setdefault(form[:_BEGIN], []).append((form, name))
                self.count += 1

    def found_in(self, text: str) -> set[str]:
        begins, found = self._begins, set()
        for at in range(len(text) - _BEGIN + 1):
            near = begins.get(text[at : at + _BEGIN])
            if near is not None:
                found |= {name for form, name in near if text.startswith(form, at)}
        return found


async def texts_of_rows(owner: asyncpg.Pool) -> dict[str, str]:
    """Every row of every table and view of the ledger's schemas, all columns as text."""
    tables = await owner.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1",
        list(SCHEMAS),
    )
    return {
        row["name"]: "\n".join(
            one[0] for one in await owner.fetch(f"SELECT q::text FROM {row['name']} q")
        )
        for row in tables
    }


def texts_of_files(folder: Path, *, known: Iterable[Path]) -> dict[str, str]:
    """Every file below a folder, as far as it is text, but for those that hold secrets by intention."""
    hidden = {path.resolve() for path in known}
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.resolve().is_relative_to(one) for one in hidden)
    }


async def level_2_signatures(
    owner: asyncpg.Pool, address: str, keys: Iterable[ApiCredentials], around_s: int = 3
) -> dict[str, str]:
    """The signatures in the headers of every request that is on record, made again.

    The header's time is that of the request to the second, and the record's time is near it.
    """
    rows: list[Any] = await owner.fetch(
        "SELECT DISTINCT floor(extract(epoch FROM at))::bigint AS at_s, "
        "ceil(took_ms / 1000.0)::int AS took_s, method, path, request FROM ledger.venue_exchange"
    )
    made = {}
    for row in rows:
        first, last = row["at_s"] - row["took_s"] - around_s, row["at_s"] + around_s
        for key in keys:
            for at_s in range(first, last + 1):
                headers = key.headers(
                    address=address,
                    timestamp_s=at_s,
                    method=row["method"],
                    path=row["path"],
                    body=row["request"].encode(),
                )
                signature = headers["POLY_SIGNATURE"]
                made[f"level-2 signature of {row['method']} {row['path']} at {at_s}"] = signature
    return made


def level_1_signatures(signer: Signer, from_s: int, to_s: int) -> dict[str, str]:
    """What proved at any second of a time that the key's owner asks."""
    proof = KeyProof(signer)
    made = {}
    for at_s in range(from_s, to_s + 1):
        headers = proof.headers(
            address=signer.address, timestamp_s=at_s, method="GET", path="/auth/derive-api-key"
        )
        made[f"level-1 signature at {at_s}"] = headers["POLY_SIGNATURE"].removeprefix("0x")
    return made
