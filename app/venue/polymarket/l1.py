"""Level 1: a signature that proves who owns the key. With it an API key is derived or made.

Written here and not taken from the official client, because there it cannot be reached by itself: its
public way (``AsyncSecureClient.create``) takes no address but production's, looks at the wallet, and
may make an API key or deploy a wallet on the way (docs/venue.md 1.4, traps 8 and 9). The tests hold
these headers equal to those of both official packages.
"""

from __future__ import annotations

from typing import Final

from app.errors import BadInput, Code
from app.venue.polymarket.encoding import MAX_UINT256, keccak256, parse_address, word
from app.venue.polymarket.sealed import Sealed
from app.venue.polymarket.signing import Signer

_DOMAIN_TYPE: Final = keccak256(b"EIP712Domain(string name,string version,uint256 chainId)")
_DOMAIN_NAME: Final = keccak256(b"ClobAuthDomain")
_DOMAIN_VERSION: Final = keccak256(b"1")
_AUTH_TYPE: Final = keccak256(
    b"ClobAuth(address address,string timestamp,uint256 nonce,string message)"
)
_MESSAGE: Final = keccak256(b"This message attests that I control the given wallet")


class KeyProof(Sealed):
    """Makes level-1 headers for a signer, in the shape in which a transport asks for headers.

    ``nonce`` tells the API keys of one signer apart: the same nonce derives the same key.
    """

    __slots__ = ("_nonce", "_signer")

    def __init__(self, signer: Signer, nonce: int = 0) -> None:
        if not 0 <= nonce <= MAX_UINT256:
            raise BadInput(
                Code.BAD_REQUEST, "the nonce is not a uint256", not_done="nothing was signed"
            )
        self._signer = signer
        self._nonce = nonce

    def __repr__(self) -> str:
        return f"<KeyProof {self._signer.address} nonce {self._nonce}>"

    @property
    def address(self) -> str:
        """Who is proved to ask."""
        return self._signer.address

    def headers(
        self, *, address: str, timestamp_s: int, method: str, path: str, body: bytes = b""
    ) -> dict[str, str]:
        """For a while they are as good as the key: never log them. Method, path and body are not signed.

        Raises ``BAD_REQUEST`` if ``address`` is not the signer's own.
        """
        if parse_address(address) != parse_address(self._signer.address):
            raise BadInput(
                Code.BAD_REQUEST,
                f"level 1 proves the signer {self._signer.address} and not {address}",
                not_done="nothing was signed",
                next_step="ask as the signing key's own address, also for a deposit wallet",
            )
        signature = self._signer.sign_digest(self._digest(timestamp_s))
        return {
            "POLY_ADDRESS": self._signer.address,
            "POLY_NONCE": str(self._nonce),
            "POLY_SIGNATURE": "0x" + signature.hex(),
            "POLY_TIMESTAMP": str(timestamp_s),
        }

    def _digest(self, timestamp_s: int) -> bytes:
        domain = keccak256(
            _DOMAIN_TYPE + _DOMAIN_NAME + _DOMAIN_VERSION + word(self._signer.chain_id)
        )
        auth = keccak256(
            b"".join(
                (
                    _AUTH_TYPE,
                    word(parse_address(self._signer.address)),
                    keccak256(str(timestamp_s).encode()),
                    word(self._nonce),
                    _MESSAGE,
                )
            )
        )
        return keccak256(b"\x19\x01" + domain + auth)
