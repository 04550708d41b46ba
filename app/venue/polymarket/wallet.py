"""Whose wallet is it, what does it hold, who may spend it, and which API key belongs to its key.

Reads only, apart from `api_key` with ``make``: nothing here signs or sends a transaction. Wallets are
deployed and allowances granted by their owner, with the site or the official client
(docs/going-live.md); a program that holds the key and can also approve spenders is one mistake
away from approving the wrong one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from app.venue.interface import Absent, Found, Unread
from app.venue.polymarket.answers.reading import Balance, read_balance
from app.venue.polymarket.domain import EXCHANGES, POLYGON
from app.venue.polymarket.encoding import format_address, keccak256, parse_address, word
from app.venue.polymarket.l1 import KeyProof
from app.venue.polymarket.sealed import Sealed
from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.polymarket.wire import Endpoint, Exchange, Phase


class Ask(Protocol):
    """The HTTP port: one request, one exchange. Answers for whatever happens on the wire."""

    async def __call__(
        self,
        endpoint: Endpoint,
        *,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        signed: bool = False,
        proof: KeyProof | None = None,
    ) -> Exchange:
        """``path`` where the endpoint has a placeholder; ``signed`` with the API key; ``proof`` for level 1."""
        ...


# --- whose wallet ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Factories:
    """The contracts that deploy wallets, which makes an address a function of its owner's key."""

    proxy: int
    proxy_implementation: int
    safe: int
    safe_code_hash: bytes
    deposit: int
    deposit_implementation: int
    deposit_beacon: int


FACTORIES: Final = {
    POLYGON: Factories(
        proxy=0xAB45C5A4B0C941A2F231C04C3F49182E1A254052,
        proxy_implementation=0x44E999D5C2F66EF0861317F9A4805AC2E90AEB4F,
        safe=0xAACFEEA03EB1561C4E67D661E40682BD20E3541B,
        safe_code_hash=bytes.fromhex(
            "2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf"
        ),
        deposit=0x00000000000FB5C9ADEA0298D729A0CB3823CC07,
        deposit_implementation=0x58CA52EBE0DADFDF531CDE7062E76746DE4DB1EB,
        deposit_beacon=0x7A18EDFE055488A3128F01F563E5B479D92FFC3A,
    )
}
"""Those of polymarket-client 0.14.0 (environments.py), to which a test holds them."""

_ERC1967: Final = bytes.fromhex(
    "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
"""Code behind the implementation's address in a proxy of ERC-1967."""

_ERC1967_BEACON: Final = bytes.fromhex(
    "60195155f3363d3d373d3d363d602036600436635c60da"
    "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)
"""The same for a proxy that asks a beacon for its implementation."""


def wallets_of(signer: str, chain_id: int = POLYGON) -> dict[str, SignatureType]:
    """Every wallet whose address follows from the signing key's address, and its signature type.

    A deposit wallet has two possible addresses, from before and after the factory's change.
    """
    owner, made = parse_address(signer, what="signer"), FACTORIES[chain_id]
    identity = word(made.deposit) + word(owner)
    length = len(identity) << 56
    plain = (0x61003D3D8160233D3973 + length).to_bytes(10, "big") + _raw(
        made.deposit_implementation
    )
    beacon = (0x6100523D8160233D3973 + length).to_bytes(10, "big") + _raw(made.deposit_beacon)
    proxy = b"".join(
        (
            bytes.fromhex("3d3d606380380380913d393d73"),
            _raw(made.proxy),
            bytes.fromhex("5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73"),
            _raw(made.proxy_implementation),
            bytes.fromhex("5af43d82803e903d91602b57fd5bf352e831dd"),
            word(32),
            word(0),
        )
    )
    return {
        format_address(owner): SignatureType.EOA,
        _create2(made.proxy, keccak256(_raw(owner)), keccak256(proxy)): SignatureType.POLY_PROXY,
        _create2(made.safe, keccak256(word(owner)), made.safe_code_hash): SignatureType.GNOSIS_SAFE,
        _create2(
            made.deposit, keccak256(identity), keccak256(plain + _ERC1967 + identity)
        ): SignatureType.POLY_1271,
        _create2(
            made.deposit, keccak256(identity), keccak256(beacon + _ERC1967_BEACON + identity)
        ): SignatureType.POLY_1271,
    }


class Fit(StrEnum):
    """Whether key, wallet and signature type belong together."""

    FITS = "fits"
    WRONG = "wrong"
    UNSURE = "unsure"
    """No wallet of this key that we can compute: the venue decides."""


def judge(signer: str, wallet: str, signature_type: SignatureType) -> tuple[Fit, str]:
    """The start-up self-check of (key, wallet, signature type), and what it says to people.

    Source: docs/venue.md 2.3. An order that is wrong here is refused by the venue ("maker address not
    allowed", "invalid signature"), at best.
    """
    known = wallets_of(signer)
    maker = format_address(parse_address(wallet, what="LEDGER_FUNDER"))
    right = known.get(maker)
    if right is signature_type:
        return Fit.FITS, f"{maker} is the {_NAMES[right]} of the signing key {signer}"
    if right is not None:
        return Fit.WRONG, (
            f"{maker} is the {_NAMES[right]} of this key: signature type {right.value}, "
            f"not {signature_type.value}"
        )
    if signature_type is SignatureType.EOA:
        return Fit.WRONG, (
            f"signature type 0 means that the key {signer} holds the funds itself, and the wallet is {maker}"
        )
    return Fit.UNSURE, (
        f"{maker} is no wallet that follows from the key {signer}: either the wrong key, or a wallet "
        "whose owner approved this key later (session keys are not supported here)"
    )


_NAMES: Final = {
    SignatureType.EOA: "own address (EOA)",
    SignatureType.POLY_PROXY: "proxy wallet",
    SignatureType.GNOSIS_SAFE: "safe",
    SignatureType.POLY_1271: "deposit wallet",
}


def _raw(address: int) -> bytes:
    return address.to_bytes(20, "big")


def _create2(factory: int, salt: bytes, code_hash: bytes) -> str:
    hashed = keccak256(b"\xff" + _raw(factory) + salt + code_hash)
    return format_address(int.from_bytes(hashed[12:], "big"))


# --- what it holds ---------------------------------------------------------------------------------


async def collateral(ask: Ask, signature_type: SignatureType) -> Found[Balance] | Unread:
    """Balance and allowances of pUSD, as the venue's cache has them (docs/venue.md 10)."""
    query = {"asset_type": "COLLATERAL", "signature_type": str(signature_type.value)}
    return read_balance(await ask(Endpoint.GET_BALANCE, query=query, signed=True))


async def look_at_chain(ask: Ask, signature_type: SignatureType) -> None:
    """Have the venue look its cache of pUSD up on the chain. Nothing follows from how it answers."""
    query = {"asset_type": "COLLATERAL", "signature_type": str(signature_type.value)}
    await ask(Endpoint.UPDATE_BALANCE, query=query, signed=True)


def short_allowances(balance: Balance, needed_micros: int, chain_id: int = POLYGON) -> list[str]:
    """Which exchanges may move less than ``needed_micros``: ``standard``, ``neg-risk``, ``v3``."""
    exchanges = EXCHANGES[chain_id]
    named = {
        "standard": exchanges.standard,
        "neg-risk": exchanges.neg_risk,
        "v3": exchanges.v3,
    }
    return [name for name, one in named.items() if balance.allowance(one.exchange) < needed_micros]


# --- API keys --------------------------------------------------------------------------------------


class NewApiKey(Sealed):
    """An API key as the venue just gave it. Its texts come out once, to be stored."""

    __slots__ = ("__passphrase", "__secret", "key_id")

    def __init__(self, key_id: str, secret: str, passphrase: str) -> None:
        self.key_id = key_id
        self.__secret = secret
        self.__passphrase = passphrase

    def __repr__(self) -> str:
        return f"<NewApiKey {self.key_id}>"

    def settings(self) -> dict[str, str]:
        """As settings, for `app.secrets.files.write_new`. Never log or print them."""
        return {
            "LEDGER_API_KEY": self.key_id,
            "LEDGER_API_SECRET": self.__secret,
            "LEDGER_API_PASSPHRASE": self.__passphrase,
        }


async def api_key(
    ask: Ask, signer: Signer, *, nonce: int = 0, make: bool = False
) -> Found[NewApiKey] | Absent | Unread:
    """The API key of a signing key: derived, and made only with ``make`` if there is none.

    Never made unasked: the venue's documentation says that a new key ends the one before it
    (docs:trading/clients/l1), under which a worker may be trading.
    """
    proof = KeyProof(signer, nonce)
    answer = read_api_key(await ask(Endpoint.DERIVE_API_KEY, proof=proof))
    if not make or not isinstance(answer, Absent):
        return answer
    return read_api_key(await ask(Endpoint.POST_API_KEY, proof=proof))


def read_api_key(exchange: Exchange) -> Found[NewApiKey] | Absent | Unread:
    """The answer of deriving or making a key. What is told of it never holds its body: that is a secret."""
    if exchange.phase is Phase.DONE and exchange.status in (400, 404):
        return Absent(f"HTTP {exchange.status}: {exchange.text[:200]}")
    if exchange.phase is not Phase.DONE:
        return Unread(f"{exchange.problem or 'no answer'} ({exchange.phase.value})")
    if exchange.status != 200:
        return Unread(f"HTTP {exchange.status}: {exchange.text[:200]}")
    try:
        value = json.loads(exchange.body)
    except ValueError:
        value = None
    parts = [
        value.get(name) if isinstance(value, dict) else None
        for name in ("apiKey", "secret", "passphrase")
    ]
    if not all(isinstance(part, str) and part for part in parts):
        return Unread("the answer is no API key; it is not shown here")
    key_id, secret, passphrase = (str(part) for part in parts)
    return Found(NewApiKey(key_id, secret, passphrase))
