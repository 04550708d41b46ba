"""A throw-away certificate authority, and a certificate of it for loopback.

TLS is needed because clients speak HTTP/2 only over it. X.509 is written out here (RFC 5280, keys on
P-256) with the cryptography that the signer needs anyway: a dependency for two certificates that
protect nothing would be one more to keep.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS
from Crypto.Util.asn1 import DerInteger, DerObjectId

_VALID: Final = timedelta(days=3650)
_BITS: Final = 0x03
_OCTETS: Final = 0x04
_UTF8: Final = 0x0C
_GENERALIZED_TIME: Final = 0x18
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_CONTEXT: Final = 0x80
_MADE: Final = 0x20
"""Marks a value that holds others."""
_TRUE: Final = bytes((1, 1, 0xFF))
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM."""

    authority: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS that offers HTTP/2 first."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def make_certificates(folder: Path, now_ms: int) -> Certificates:
    """Those of the folder, made once: a restarted process is believed by the same clients."""
    files = Certificates(
        folder / "authority.pem", folder / "loopback.pem", folder / "loopback.key.pem"
    )
    if all(path.exists() for path in (files.authority, files.certificate, files.key)):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    start = datetime.fromtimestamp(now_ms // 1000, UTC) - timedelta(days=1)
    root, leaf = ECC.generate(curve="P-256"), ECC.generate(curve="P-256")
    name, own = "Throw-away authority of a simulator", "localhost"
    _write(files.authority, _certificate(name, root, name, root, start, _root_extensions(root)))
    _write(
        files.certificate, _certificate(own, leaf, name, root, start, _leaf_extensions(leaf, root))
    )
    _write_text(files.key, leaf.export_key(format="PEM"))
    return files


def _certificate(
    subject: str,
    key: ECC.EccKey,
    issuer: str,
    signer: ECC.EccKey,
    start: datetime,
    extensions: list[bytes],
) -> bytes:
    serial = int.from_bytes(hashlib.sha256(_public(key)).digest()[:8], "big") >> 1
    body = _sequence(
        _der(_CONTEXT | _MADE | 0, DerInteger(2).encode()),
        DerInteger(serial).encode(),
        _ECDSA_SHA256,
        _name(issuer),
        _sequence(_time(start), _time(start + _VALID)),
        _name(subject),
        _public(key),
        _der(_CONTEXT | _MADE | 3, _sequence(*extensions)),
    )
    signature = DSS.new(signer, "deterministic-rfc6979", encoding="der").sign(SHA256.new(body))
    return _sequence(body, _ECDSA_SHA256, _der(_BITS, b"\0" + signature))


def _root_extensions(root: ECC.EccKey) -> list[bytes]:
    return [
        _extension("2.5.29.19", _sequence(_TRUE), critical=True),
        # signs certificates and revocation lists
        _extension("2.5.29.15", _der(_BITS, bytes((1, 0b0000_0110))), critical=True),
        _extension("2.5.29.14", _der(_OCTETS, _key_id(root))),
    ]


def _leaf_extensions(leaf: ECC.EccKey, root: ECC.EccKey) -> list[bytes]:
    names = _sequence(
        _der(_CONTEXT | 2, b"localhost"),
        _der(_CONTEXT | 7, ipaddress.ip_address("127.0.0.1").packed),
        _der(_CONTEXT | 7, ipaddress.ip_address("::1").packed),
    )
    return [
        _extension("2.5.29.19", _sequence(), critical=True),
        _extension("2.5.29.15", _der(_BITS, bytes((7, 0b1000_0000))), critical=True),
        _extension("2.5.29.37", _sequence(_oid("1.3.6.1.5.5.7.3.1"))),
        _extension("2.5.29.17", names),
        _extension("2.5.29.14", _der(_OCTETS, _key_id(leaf))),
        _extension("2.5.29.35", _sequence(_der(_CONTEXT | 0, _key_id(root)))),
    ]


def _extension(identifier: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(identifier), _TRUE if critical else b"", _der(_OCTETS, value))


def _name(common: str) -> bytes:
    pair = _sequence(_oid("2.5.4.3"), _der(_UTF8, common.encode()))
    return _sequence(_der(_SET, pair))


def _time(at: datetime) -> bytes:
    return _der(_GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").encode())


def _oid(dotted: str) -> bytes:
    return DerObjectId(dotted).encode()


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _der(tag: int, payload: bytes) -> bytes:
    """Tag, length, value."""
    size = len(payload)
    if size < 0x80:
        return bytes((tag, size)) + payload
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + payload


def _public(key: ECC.EccKey) -> bytes:
    return key.public_key().export_key(format="DER")


def _key_id(key: ECC.EccKey) -> bytes:
    return hashlib.sha256(_public(key)).digest()[:20]


def _write(path: Path, der: bytes) -> None:
    _write_text(path, ssl.DER_cert_to_PEM_cert(der))


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all, and for nobody else's eyes."""
    fresh = path.with_suffix(".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(text)
    fresh.rename(path)
