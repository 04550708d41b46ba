"""Which contract an order is signed for.

The EIP-712 domain is part of the order's hash, and the hash is the order's identity at the venue:
an order signed for the wrong exchange is not a bad order but a different one. Addresses from
docs/venue.md 2.2 (Polygon) and from py-clob-client-v2 1.2.1 (Amoy, the test network).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.errors import BadInput, Code
from app.venue.polymarket.encoding import format_address, keccak256, parse_address, word

POLYGON: Final = 137
AMOY: Final = 80002

_DOMAIN_TYPE_HASH: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_NAME_HASH: Final = keccak256(b"Polymarket CTF Exchange")
_PROTOCOL_V2_ZERO_BITS: Final = ((1 << 64) - 1) << 40


@dataclass(frozen=True, slots=True)
class Domain:
    """An exchange contract on a chain. Its separator is computed once, here."""

    chain_id: int
    exchange: str
    """EIP-55 address of the verifying contract."""
    version: str
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exchange = parse_address(self.exchange, what="exchange")
        encoded = b"".join(
            (
                _DOMAIN_TYPE_HASH,
                _NAME_HASH,
                keccak256(self.version.encode()),
                word(self.chain_id),
                word(exchange),
            )
        )
        object.__setattr__(self, "exchange", format_address(exchange))
        object.__setattr__(self, "separator", keccak256(encoded))


@dataclass(frozen=True, slots=True)
class Exchanges:
    """The three exchanges of one chain."""

    standard: Domain
    neg_risk: Domain
    v3: Domain
    """For positions of Protocol V2; their neg-risk ones too."""


def _exchanges(chain_id: int, standard: str, neg_risk: str, v3: str) -> Exchanges:
    return Exchanges(
        Domain(chain_id, standard, "2"), Domain(chain_id, neg_risk, "2"), Domain(chain_id, v3, "3")
    )


_STANDARD_V2: Final = "0xE111180000d2663C0091e4f400237545B87B996B"
_NEG_RISK_V2: Final = "0xe2222d279d744050d28e00520010520000310F59"

EXCHANGES: Final = {
    POLYGON: _exchanges(
        POLYGON, _STANDARD_V2, _NEG_RISK_V2, "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"
    ),
    AMOY: _exchanges(
        AMOY, _STANDARD_V2, _NEG_RISK_V2, "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D"
    ),
}


def is_protocol_v2(token: int) -> bool:
    """Whether a token id lies in the id space of Protocol V2: bits 40 to 103 are zero.

    Source: docs/venue.md 2.2. An id of the older scheme, a hash, looks so once in 1.8e19. A made-up
    small number always does.
    """
    return token & _PROTOCOL_V2_ZERO_BITS == 0


def choose_domain(chain_id: int, token: int, *, neg_risk: bool) -> Domain:
    """The exchange for a token: Protocol V2 first, then neg-risk, else standard."""
    exchanges = EXCHANGES.get(chain_id)
    if exchanges is None:
        raise BadInput(
            Code.BAD_SETTING,
            f"chain {chain_id} has no exchange; known are {sorted(EXCHANGES)}",
            not_done="nothing was signed",
        )
    if is_protocol_v2(token):
        return exchanges.v3
    return exchanges.neg_risk if neg_risk else exchanges.standard
