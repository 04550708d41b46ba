"""What the doctor looks at in tests: a healthy venue, database and wallet, to be made ill one by one."""

from __future__ import annotations

from typing import Any

from app.clock import AsyncioTasks, Ports, SeededRng
from app.config import Settings
from app.secrets import SecretSet
from app.secrets.types import secrets_of
from app.venue.polymarket.domain import EXCHANGES, POLYGON
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.wallet import wallets_of
from app.venue.polymarket.wire import Endpoint
from tests.support.polymarket import FakeHttp, HandClock
from workers.doctor import database
from workers.doctor.findings import Finding

KEY = "0x" + "c0ffee" * 10 + "5eed"
DOCUMENT = {
    "private_key": KEY,
    "api_key": "a-key-id",
    "api_secret": "c2VjcmV0LWNhbmFyeQ==",
    "api_passphrase": "passphrase-canary",
}
SECRETS = SecretSet(secrets_of(DOCUMENT, "here"))
KEYLESS = SecretSet(secrets_of({"private_key": KEY}, "here"))
SIGNER = SECRETS.current.signer.address
WALLETS = {kind: wallet for wallet, kind in wallets_of(SIGNER).items()}
LOCAL = {
    "polymarket_clob_url": "http://127.0.0.1:8080",
    "polymarket_ws_url": "ws://127.0.0.1:8080/ws/user",
    "polymarket_market_ws_url": "ws://127.0.0.1:8080/ws/market",
    "polymarket_gamma_url": "http://127.0.0.1:8080/gamma",
    "polymarket_data_url": "http://127.0.0.1:8080/data-api",
}
TOKEN = "1" * 70
NOW_MS = 1_800_000_000_000


def settings(**given: Any) -> Settings:
    options = {"venue": "polymarket", "funder": WALLETS[SignatureType.POLY_1271], **LOCAL}
    return Settings(_env_file=None, **options | {"signature_type": 3} | given)


def shown(finding: Finding) -> str:
    return f"{finding.name} {finding.seen} {finding.next_step}"


def leaks(text: str) -> bool:
    return any(word in text for word in (KEY[2:], DOCUMENT["api_secret"], "passphrase-canary"))


GOOD: dict[Endpoint, Any] = {
    Endpoint.GET_OK: "OK",
    Endpoint.GET_VERSION: {"version": 2},
    Endpoint.GET_TIME: NOW_MS // 1000,
    Endpoint.GET_GEOBLOCK: {"blocked": False, "ip": "192.0.2.7", "country": "IE", "region": "L"},
    Endpoint.GET_API_KEYS: {"apiKeys": ["a-key-id", "another"]},
    Endpoint.GET_CLOSED_ONLY: {"closed_only": False},
    Endpoint.GET_TIER: {"tier": "Standard"},
    Endpoint.GET_BALANCE: {
        "balance": "25000000",
        "allowances": {
            one.exchange: str(2**256 - 1)
            for one in (
                EXCHANGES[POLYGON].standard,
                EXCHANGES[POLYGON].neg_risk,
                EXCHANGES[POLYGON].v3,
            )
        },
    },
    Endpoint.GET_BOOK: {
        "bids": [{"price": "0.40", "size": "5"}, {"price": "0.45", "size": "5"}],
        "asks": [{"price": "0.60", "size": "5"}, {"price": "0.55", "size": "5"}],
        "timestamp": str(NOW_MS - 2_000),
    },
}


def http(**changes: Any) -> FakeHttp:
    return FakeHttp(GOOD | {Endpoint[name]: reply for name, reply in changes.items()})


class Index:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def missing(self, _wallet: str) -> Any:
        return self.answer


def ports() -> Ports:
    return Ports(HandClock(NOW_MS), SeededRng(1), AsyncioTasks())


class Rows:
    """A database that answers by the file asked for."""

    def __init__(self, **answers: Any) -> None:
        good: dict[str, Any] = {
            "account": [{"venue": "polymarket", "maker": None, "signer": None, "now_ms": NOW_MS}],
            "modes": [],
            "tokens": [{"token_id": TOKEN}],
        }
        self.answers = {database.statement(name): rows for name, rows in (good | answers).items()}

    async def rows(self, query: str, *_arguments: Any) -> list[dict[str, Any]]:
        answer = self.answers[query]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)
