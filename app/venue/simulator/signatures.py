"""Checks what clients sign: orders (types 0 to 3) and the message that asks for an API key.

Written from the definitions (EIP-712, ERC-7739; docs/venue.md 2.1, 2.3) and not with the signer's
own helpers: a check that shares code with what it checks would share its mistakes.
"""

from __future__ import annotations

from typing import Final

from coincurve import PublicKey

from app.venue.polymarket.domain import Domain
from app.venue.polymarket.encoding import format_address, keccak256, word
from app.venue.polymarket.signing import OrderFields, SignatureType, struct_hash

_ORDER: Final = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    b"uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,"
    b"bytes32 builder)"
)
_NESTED: Final = keccak256(
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,"
    b"address verifyingContract,bytes32 salt)" + _ORDER
)
_ENVELOPE_END: Final = _ORDER + len(_ORDER).to_bytes(2, "big")
_AUTH_DOMAIN: Final = keccak256(b"EIP712Domain(string name,string version,uint256 chainId)")
_AUTH: Final = keccak256(b"ClobAuth(address address,string timestamp,uint256 nonce,string message)")
_AUTH_TEXT: Final = keccak256(b"This message attests that I control the given wallet")


def order_signer(fields: OrderFields, domain: Domain, signature: bytes) -> str | None:
    """The address whose key signed this order for this exchange; None if nobody's did."""
    contents = struct_hash(fields)
    if fields.signature_type != SignatureType.POLY_1271:
        return recover(_digest(domain.separator, contents), signature)
    ecdsa, rest = signature[:65], signature[65:]
    if rest != domain.separator + contents + _ENVELOPE_END:
        return None
    wallet = (keccak256(b"DepositWallet"), keccak256(b"1"), word(domain.chain_id))
    nested = keccak256(b"".join((_NESTED, contents, *wallet, word(fields.signer), word(0))))
    return recover(_digest(domain.separator, nested), ecdsa)


def auth_signer(
    address: int, timestamp: str, nonce: int, chain_id: int, signature: bytes
) -> str | None:
    """The address whose key signed the request for an API key (level 1)."""
    domain = keccak256(
        _AUTH_DOMAIN + keccak256(b"ClobAuthDomain") + keccak256(b"1") + word(chain_id)
    )
    message = (word(address), keccak256(timestamp.encode()), word(nonce), _AUTH_TEXT)
    return recover(_digest(domain, keccak256(_AUTH + b"".join(message))), signature)


def _digest(separator: bytes, hashed: bytes) -> bytes:
    return keccak256(b"\x19\x01" + separator + hashed)


def recover(digest: bytes, signature: bytes) -> str | None:
    """The signing address of a 65-byte signature with a recovery id of 27 or 28 (or 0, 1)."""
    if len(signature) != 65:
        return None
    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if recovery not in (0, 1):
        return None
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes((recovery,)), digest, hasher=None
        )
    except ValueError:  # not a point of the curve
        return None
    point = key.format(compressed=False)[1:]
    return format_address(int.from_bytes(keccak256(point)[12:], "big"))
