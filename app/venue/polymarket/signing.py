"""The order's hash, which is its identity at the venue, and the signature over it.

The hash is known before anything is sent, and the signature is deterministic (RFC 6979): the same
fields give the same bytes, whoever signs, whenever. That is what lets a takeover send an order
again instead of making a second one. Struct, type hash and the envelope of type 3: docs/venue.md
2.1 and 2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from coincurve import PrivateKey

from app.errors import BadInput, Code, LedgerError
from app.venue.polymarket.domain import POLYGON, Domain
from app.venue.polymarket.encoding import (
    MAX_ADDRESS,
    MAX_UINT256,
    WORD,
    format_address,
    keccak256,
    word,
)
from app.venue.polymarket.sealed import Sealed

ORDER_TYPE: Final = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    b"uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,"
    b"bytes32 builder)"
)
ORDER_TYPE_HASH: Final = keccak256(ORDER_TYPE)
_TYPED_DATA_SIGN_HASH: Final = keccak256(
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,"
    b"address verifyingContract,bytes32 salt)" + ORDER_TYPE
)
_DEPOSIT_WALLET: Final = keccak256(b"DepositWallet") + keccak256(b"1")
_ZERO_WORD: Final = word(0)
_CONTENTS_TYPE: Final = ORDER_TYPE + len(ORDER_TYPE).to_bytes(2, "big")
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class SignatureType(IntEnum):
    """Who the maker is. New users of the API must use POLY_1271."""

    EOA = 0
    POLY_PROXY = 1
    GNOSIS_SAFE = 2
    POLY_1271 = 3
    """A deposit wallet: maker and signer are the wallet, its owner's key signs."""


_LIMITS: Final = (
    ("salt", MAX_UINT256),
    ("maker", MAX_ADDRESS),
    ("signer", MAX_ADDRESS),
    ("token_id", MAX_UINT256),
    ("maker_amount", MAX_UINT256),
    ("taker_amount", MAX_UINT256),
    ("side", 1),
    ("signature_type", max(SignatureType)),
    ("timestamp_ms", MAX_UINT256),
    ("metadata", MAX_UINT256),
    ("builder", MAX_UINT256),
)


@dataclass(frozen=True, slots=True)
class OrderFields:
    """The eleven signed fields, as integers, in the struct's order. Nothing else is hashed."""

    salt: int
    maker: int
    signer: int
    token_id: int
    maker_amount: int
    taker_amount: int
    side: int
    """0 BUY, 1 SELL."""
    signature_type: int
    timestamp_ms: int
    metadata: int = 0
    builder: int = 0

    def __post_init__(self) -> None:
        for name, highest in _LIMITS:
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= highest:
                raise BadInput(
                    Code.BAD_REQUEST,
                    f"order field {name} is not an integer from 0 to {highest:#x}",
                    not_done="nothing was signed",
                )


class Signature(NamedTuple):
    """What signing gives."""

    order_hash: bytes
    """The venue order id, 32 bytes."""
    signature: bytes
    """65 bytes for types 0 to 2, 317 for type 3."""


def struct_hash(fields: OrderFields) -> bytes:
    """EIP-712 ``hashStruct`` of an order."""
    return keccak256(
        b"".join(
            (
                ORDER_TYPE_HASH,
                fields.salt.to_bytes(WORD, "big"),
                fields.maker.to_bytes(WORD, "big"),
                fields.signer.to_bytes(WORD, "big"),
                fields.token_id.to_bytes(WORD, "big"),
                fields.maker_amount.to_bytes(WORD, "big"),
                fields.taker_amount.to_bytes(WORD, "big"),
                fields.side.to_bytes(WORD, "big"),
                fields.signature_type.to_bytes(WORD, "big"),
                fields.timestamp_ms.to_bytes(WORD, "big"),
                fields.metadata.to_bytes(WORD, "big"),
                fields.builder.to_bytes(WORD, "big"),
            )
        )
    )


def order_hash(fields: OrderFields, domain: Domain) -> str:
    """The venue order id: ``0x`` and 64 lower-case hex digits.

    For type 3 too it is the plain order digest under the exchange's domain, not the digest that
    is signed (docs/venue.md 2.4).
    """
    return "0x" + _digest(domain, struct_hash(fields)).hex()


def _digest(domain: Domain, hashed: bytes) -> bytes:
    return keccak256(b"\x19\x01" + domain.separator + hashed)


class Signer(Sealed):
    """A private key that signs orders. Holds the key object, not its text.

    Make it with `from_key` or `ephemeral`. It signs what it is given: `build_order` checks that the
    order belongs to the key.
    """

    __slots__ = ("__key", "_address", "chain_id")

    def __init__(self, key: PrivateKey, chain_id: int = POLYGON) -> None:
        self.__key = key
        self.chain_id = chain_id
        point = key.public_key.format(compressed=False)[1:]
        self._address = int.from_bytes(keccak256(point)[12:], "big")

    @classmethod
    def from_key(cls, text: str, chain_id: int = POLYGON) -> Signer:
        """From 64 hex digits, ``0x`` or not; if not so, ``SIGNING_FAILED`` without an echo."""
        secret = _secret_of(text)
        # A traceback printed with its locals must not find the text in this frame.
        del text
        if secret is None:
            raise LedgerError(
                Code.SIGNING_FAILED,
                "the private key is not 64 hex digits of a number in the curve's range",
                not_done="no signer was made",
                next_step="check the setting that holds the key; its content is not shown here",
            )
        return cls(PrivateKey(secret), chain_id)

    @classmethod
    def ephemeral(cls, bits: Callable[[int], int], chain_id: int = POLYGON) -> Signer:
        """A throw-away key from random bits (``Rng.bits``), for the paper venue and tests.

        A seeded source gives the same key, and so the same order ids, for the same seed.
        """
        while not 0 < (number := bits(256)) < _CURVE_ORDER:
            pass
        return cls(PrivateKey(word(number)), chain_id)

    @property
    def address(self) -> str:
        """The key's own address (EOA), EIP-55."""
        return format_address(self._address)

    def sign(self, fields: OrderFields, domain: Domain) -> Signature:
        """Sign an order for an exchange. Deterministic: the same order gives the same bytes.

        Errors: ``SIGNING_FAILED`` if the domain is of another chain than the signer.
        """
        if domain.chain_id != self.chain_id:
            raise LedgerError(
                Code.SIGNING_FAILED,
                f"the signer is for chain {self.chain_id}, the exchange on {domain.chain_id}",
                not_done="nothing was signed",
            )
        contents = struct_hash(fields)
        digest = _digest(domain, contents)
        if fields.signature_type != SignatureType.POLY_1271:
            return Signature(digest, self._ecdsa(digest))
        nested = keccak256(
            b"".join(
                (
                    _TYPED_DATA_SIGN_HASH,
                    contents,
                    _DEPOSIT_WALLET,
                    word(domain.chain_id),
                    word(fields.signer),
                    _ZERO_WORD,
                )
            )
        )
        envelope = (
            self._ecdsa(_digest(domain, nested)) + domain.separator + contents + _CONTENTS_TYPE
        )
        return Signature(digest, envelope)

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes over a digest that this package made itself; never over one that came from outside."""
        return self._ecdsa(digest)

    def _ecdsa(self, digest: bytes) -> bytes:
        signature = self.__key.sign_recoverable(digest, hasher=None)
        # The library counts the recovery id from 0, Ethereum from 27.
        return signature[:64] + bytes((signature[64] + 27,))

    def __repr__(self) -> str:
        return f"<Signer {self.address} chain {self.chain_id}>"


def _secret_of(text: str) -> bytes | None:
    digits = text.strip().removeprefix("0x").removeprefix("0X")
    if len(digits) != 2 * WORD or any(d not in "0123456789abcdefABCDEF" for d in digits):
        return None
    number = int(digits, 16)
    return word(number) if 0 < number < _CURVE_ORDER else None
