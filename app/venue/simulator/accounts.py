"""Who trades at the simulated venue: addresses, their wallets and API keys, what they own.

An account is the address that signs (an EOA); a wallet is where the money is: the address itself
for signature type 0, another address for types 1 to 3.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.encoding import format_address, parse_address

COLLATERAL: Final = "COLLATERAL"
"""The asset that is not a token."""


@dataclass(slots=True)
class ApiKey:
    """A throw-away key of the simulator's own making, or one a test chose."""

    key_id: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)
    address: str
    nonce: int

    @property
    def credentials(self) -> ApiCredentials:
        return ApiCredentials(self.key_id, self.secret, self.passphrase)


@dataclass(slots=True)
class Account:
    address: str
    wallets: dict[str, int] = field(default_factory=dict)
    """Wallet to the signature type that may spend from it."""
    tier: str = "standard"
    closed_only: bool = False
    banned: bool = False

    def wallet_of(self, signature_type: int) -> str | None:
        found = [w for w, kind in self.wallets.items() if kind == signature_type]
        return found[0] if found else None


class Accounts:
    """All of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.by_address: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.owner_of_wallet: dict[str, str] = {}

    def open(self, address: str, wallet: str = "", signature_type: int = 0) -> Account:
        """The account of an address, made if need be; with a wallet of that signature type."""
        name = spelled(address)
        account = self.by_address.get(name)
        if account is None:
            account = self.by_address[name] = Account(name, {name: 0})
            self.owner_of_wallet[name] = name
        if wallet and spelled(wallet) != name:
            account.wallets[spelled(wallet)] = signature_type
            self.owner_of_wallet[spelled(wallet)] = name
        return account

    def key_for(self, address: str, nonce: int) -> ApiKey | None:
        for key in self.keys.values():
            if (key.address, key.nonce) == (spelled(address), nonce):
                return key
        return None

    def create_key(self, address: str, nonce: int) -> ApiKey:
        """A key made from the seed, so that a replay makes the same one."""
        account = self.open(address)
        digest = hashlib.sha256(f"{self.seed}|{account.address}|{nonce}".encode()).digest()
        h = digest.hex()
        return self.add_key(
            account.address,
            f"{h[:8]}-{h[8:12]}-4{h[13:16]}-8{h[17:20]}-{h[20:32]}",
            base64.urlsafe_b64encode(hashlib.sha256(b"secret" + digest).digest()).decode(),
            hashlib.sha256(b"passphrase" + digest).hexdigest(),
            nonce,
        )

    def add_key(
        self, address: str, key_id: str, secret: str, passphrase: str, nonce: int = 0
    ) -> ApiKey:
        key = ApiKey(key_id, secret, passphrase, self.open(address).address, nonce)
        self.keys[key_id] = key
        return key

    def drop_key(self, key_id: str) -> bool:
        return self.keys.pop(key_id, None) is not None


class Balances:
    """What wallets own on the chain, and what the venue believes they own (a cache)."""

    def __init__(self) -> None:
        self.chain: dict[tuple[str, str], int] = defaultdict(int)
        self.cache: dict[tuple[str, str], int] = defaultdict(int)

    def move(self, wallet: str, asset: str, micros: int, *, seen: bool = True) -> None:
        """Change the chain; ``seen``: and the venue's cache with it."""
        self.chain[wallet, asset] += micros
        if seen:
            self.refresh(wallet, asset)

    def refresh(self, wallet: str, asset: str) -> None:
        self.cache[wallet, asset] = self.chain[wallet, asset]

    def assets_of(self, wallet: str) -> dict[str, int]:
        return {a: micros for (w, a), micros in sorted(self.chain.items()) if w == wallet}


def spelled(address: str) -> str:
    """One spelling for each address (EIP-55)."""
    return format_address(parse_address(address.lower()))
