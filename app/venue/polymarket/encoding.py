"""Keccak and the few ABI shapes an order is made of.

All fields of an order are static, so their ABI encoding is nothing but 32-byte words in a row; the
tests hold it equal to a general ABI encoder. Addresses and bytes32 are integers inside, text at the
border only.

Keccak comes from pycryptodome, called directly. Measured on one core over an order's 384 bytes:
pycryptodome 338,000/s, eth-hash over it 323,000/s, safe-pysha3 770,000/s. The last would take 3 of
the 23 microseconds off a signature, of which ECDSA is 16: not worth one more dependency.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from Crypto.Hash import keccak

from app.errors import BadInput, Code

WORD: Final = 32
MAX_UINT256: Final = (1 << 256) - 1
MAX_ADDRESS: Final = (1 << 160) - 1

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_BYTES32: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,77}")


def keccak256(data: bytes) -> bytes:
    """Keccak-256 with the original padding, as Ethereum uses it (not the later SHA3-256)."""
    return keccak.new(data=data, digest_bits=256).digest()


def word(value: int) -> bytes:
    """A uint, address or bytes32 as one ABI word."""
    return value.to_bytes(WORD, "big")


@lru_cache(maxsize=4096)
def format_address(address: int) -> str:
    """The EIP-55 spelling, in which both official packages send addresses."""
    digits = f"{address:040x}"
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if m >= "8" else d for d, m in zip(digits, marks, strict=False))


@lru_cache(maxsize=4096)
def parse_address(text: str, *, what: str = "address") -> int:
    """An address in lower, upper or EIP-55 spelling.

    Mixed case that fails its checksum raises `BadInput` ``BAD_REQUEST``: it is a mistyped address,
    and the order would be signed for a wallet nobody holds.
    """
    if not _ADDRESS.fullmatch(text):
        raise BadInput(Code.BAD_REQUEST, f"{what} is not 0x and 40 hex digits: {text[:48]!r}")
    address = int(text, 16)
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and format_address(address) != text:
        raise BadInput(Code.BAD_REQUEST, f"{what} fails its EIP-55 checksum: {text!r}")
    return address


def format_bytes32(value: int) -> str:
    return f"0x{value:064x}"


def parse_bytes32(text: str, *, what: str) -> int:
    """``0x`` and 64 hex digits as an integer; anything else raises `BadInput` ``BAD_REQUEST``."""
    if not _BYTES32.fullmatch(text):
        raise BadInput(Code.BAD_REQUEST, f"{what} is not 0x and 64 hex digits: {text[:72]!r}")
    return int(text, 16)


def parse_token_id(text: str) -> int:
    """A token id: decimal text of a uint256 without leading zeros, greater than zero.

    Stricter than the official packages, which take hexadecimal as well: two spellings of one token
    would be two outcomes in the ledger.
    """
    token = int(text) if _DECIMAL.fullmatch(text) else 0
    if not 0 < token <= MAX_UINT256:
        raise BadInput(Code.UNKNOWN_OUTCOME, f"token id is not a uint256 in decimal: {text[:80]!r}")
    return token
