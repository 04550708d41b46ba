"""A worker's life with secrets that are looked for afterwards, everywhere that anything was written."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from app.venue.polymarket.auth import ApiCredentials
from tests.support.canaries import (
    Canaries,
    forms,
    level_1_signatures,
    level_2_signatures,
    of_api_key,
    of_private_key,
    texts_of_files,
    texts_of_rows,
)
from tests.support.cli import Cli
from tests.support.polymarket_rig import API_KEY, PRIVATE_KEY, SIGNER, PolymarketRig, pm_fixture
from tests.support.worker import Rig, WorkerProcess, until

__all__ = ["pm_fixture"]
pytestmark = pytest.mark.acceptance


def api_key(letter: str) -> dict[str, str]:
    raw = (letter.encode() * 5 + b"\xfb\xef\xff-canary-secret")[:32]
    return {
        "key_id": f"{letter * 8}-0000-4000-8000-{letter * 12}",
        "secret": base64.urlsafe_b64encode(raw).decode(),
        "passphrase": f"passphrase-canary-{letter * 9}",
    }


ROTATED: Final = api_key("b")
WRONG: Final = {**API_KEY, **{name: api_key("c")[name] for name in ("secret", "passphrase")}}
NOT_BASE64: Final = "canary-secret!that#is$not%base64"
NOT_A_KEY: Final = "0x" + "c0ffee5eedc0ffee" * 3 + "not-hex-at-all"


def secrets() -> Canaries:
    named: dict[str, str | bytes] = {
        "no base64": NOT_BASE64,
        "no key": NOT_A_KEY.removeprefix("0x"),
        **of_private_key(PRIVATE_KEY),
    }
    for who, key in (("first", API_KEY), ("rotated", ROTATED), ("wrong", WRONG)):
        named |= {f"{what} ({who})": secret for what, secret in of_api_key(key).items()}
    return Canaries(named)


def settings_of(key: dict[str, str], private_key: str = PRIVATE_KEY) -> dict[str, str]:
    return {
        "LEDGER_PRIVATE_KEY": private_key,
        "LEDGER_API_KEY": key["key_id"],
        "LEDGER_API_SECRET": key["secret"],
        "LEDGER_API_PASSPHRASE": key["passphrase"],
    }


@dataclass
class Life:
    """Workers that read their keys from a file, and commands; all they say is kept."""

    pm: PolymarketRig
    said: dict[str, str] = field(default_factory=dict)
    began_s: int = field(default_factory=lambda: int(time.time()))

    @property
    def env_file(self) -> Path:
        return self.pm.folder / ".env"

    def write_keys(self, key: dict[str, str], before: dict[str, str] | None = None) -> None:
        lines = settings_of(key)
        if before is not None:
            previous = settings_of(before)
            del previous["LEDGER_PRIVATE_KEY"]
            lines |= {n.replace("_API_", "_PREVIOUS_API_"): v for n, v in previous.items()}
        self.env_file.touch(mode=0o600)
        self.env_file.write_text("".join(f"{n}={v}\n" for n, v in lines.items()))

    def start(self) -> WorkerProcess:
        hidden = ("private_key", "api_key", "api_secret", "api_passphrase")
        chosen = {n: v for n, v in self.pm.settings().items() if n not in hidden}
        return Rig.start(self.pm, **chosen, log_level="debug")

    async def until_said(self, worker: WorkerProcess, word: str, times: int = 1) -> None:
        await until(
            lambda: worker.log.read_text(errors="replace").count(word) >= times,
            lambda: f"the worker says {word}:\n{worker.said()}",
        )

    async def command(self, *arguments: str, keys: dict[str, str]) -> int:
        """A command as a person runs it, with tracebacks, and as a program does."""
        folder = self.pm.folder / "commands"
        folder.mkdir(exist_ok=True)
        venue = {f"LEDGER_{name.upper()}": str(value) for name, value in self.pm.settings().items()}
        cli = Cli(self.pm.database, folder, venue | keys)
        code = -1
        for switches in ("--debug", "--json"):
            done = await asyncio.to_thread(cli.process, switches, *arguments)
            self.said[f"{len(self.said)} {' '.join((switches, *arguments))}"] = done.out + done.err
            code = done.code
        return code


async def test_no_secret_is_in_any_log_row_error_or_file(pm: PolymarketRig) -> None:
    life, simulator = Life(pm), pm.simulator
    simulator.do("account", address=SIGNER.address, key=ROTATED)

    # Orders with the faults that make a worker talk.
    life.write_keys(API_KEY)
    worker = life.start()
    await pm.trading()
    filled = await pm.reserve(cents=60, shares=10)
    await pm.until_state(filled, "FILLED")
    simulator.fault("truncated_json", endpoint="POST /order*")
    cut = await pm.reserve(cents=5)
    await pm.until_state(cut, "LIVE")
    simulator.fault("http_error", endpoint="POST /order*", status=500, text="oh no")
    failed = await pm.reserve(cents=6)
    await pm.until_state(failed, "LIVE")
    simulator.fault("http_error", endpoint="DELETE *", status=502, text="Bad Gateway")
    await pm.cancel(failed)
    await pm.until_state(failed, "CANCELLED")
    simulator.fault("stream_drop", endpoint="WS user")
    dropping = await pm.reserve(cents=7)
    await life.until_said(worker, "STREAM_LOST")
    await pm.until_state(dropping, "LIVE")
    await life.until_said(worker, "STREAM_OPENED", times=2)
    await pm.trading()

    # Another API key, and then the venue refuses it.
    life.write_keys(ROTATED, before=API_KEY)
    os.kill(worker.pid, signal.SIGHUP)
    await life.until_said(worker, "SECRETS_ROTATED")
    with_new_key = await pm.reserve(cents=8)
    await pm.until_state(with_new_key, "LIVE")
    words = '{"error":"Unauthorized/Invalid api key"}'
    simulator.fault("http_error", endpoint="POST /order*", status=401, text=words)
    refused = await pm.reserve(cents=9)
    await life.until_said(worker, "VENUE_MODE_BEGAN")
    await pm.until("SELECT EXISTS (SELECT FROM ledger.halt WHERE why LIKE 'BAD_CREDENTIALS%')")
    await worker.stop()

    # A worker whose secret is wrong.
    life.write_keys(WRONG)
    mistaken = life.start()
    await life.until_said(mistaken, "NOT_READY")
    await mistaken.stop()

    # Commands, with keys that are right, refused, and none at all.
    right, wrong = settings_of(ROTATED), settings_of(WRONG)
    no_secret = settings_of({**API_KEY, "secret": NOT_BASE64})
    no_key = settings_of(API_KEY, NOT_A_KEY)
    for keys in (right, wrong, no_secret, no_key):
        await life.command("doctor", keys=keys)
        await life.command("reconcile", keys=keys)
    for keys in (no_secret, no_key):
        assert await life.command("start", keys=keys) == 2
    await life.command("status", keys=right)
    await life.command("order", "show", str(refused), keys=right)
    # The second time the file is there already.
    assert await life.command("keys", "derive", "--to", "derived.env", keys=right) == 2
    await life.command("keys", "derive", "--to", "none.env", keys=no_key)
    derived = pm.folder / "commands/derived.env"
    assert derived.exists(), [said for ran, said in life.said.items() if "derive" in ran]
    assert derived.stat().st_mode & 0o777 == 0o600

    # Nothing of it was left anywhere.
    canaries = secrets()
    keys_used = [
        ApiCredentials(one["key_id"], one["secret"], one["passphrase"])
        for one in (API_KEY, ROTATED, WRONG)
    ]
    canaries.add(await level_2_signatures(pm.owner, SIGNER.address, keys_used))
    canaries.add(level_1_signatures(SIGNER, life.began_s - 5, int(time.time()) + 5))
    known = [life.env_file, derived, pm.folder / "simulator"]
    texts = life.said | texts_of_files(pm.folder, known=known) | await texts_of_rows(pm.owner)
    server = pm.database.server.embedded
    if server is not None:
        texts["postgres.log"] = server.config.log_file.read_text(errors="replace")
    for talkative in ("worker-0.log", "worker-1.log", "ledger.venue_exchange", "audit.exchanges"):
        assert len(texts[talkative]) > 1_000, talkative
    assert all(life.said.values())
    leaks = {name: found for name, text in texts.items() if (found := canaries.found_in(text))}
    assert leaks == {}

    # The same look finds one that was put there: in a row's text, in bytes, in a log.
    await _plant(pm, worker)
    texts = texts_of_files(pm.folder, known=known) | await texts_of_rows(pm.owner)
    leaks = {name: found for name, text in texts.items() if (found := canaries.found_in(text))}
    assert leaks["worker-0.log"] == {"passphrase (rotated)"}
    # The text of an API secret is its bytes in base64, and that of a private key its bytes in hex.
    told = {"API secret (first)", "API secret, bytes (first)"}
    assert leaks["ledger.venue_exchange"] == leaks["audit.exchanges"] == told
    assert leaks["ledger.signed_order"] == {"private key", "private key, bytes"}


async def _plant(pm: PolymarketRig, worker: WorkerProcess) -> None:
    with worker.log.open("a") as log:
        log.write(base64.b64encode(f"x{ROTATED['passphrase']}y".encode()).decode())
    await pm.owner.execute(
        "UPDATE ledger.venue_exchange SET answer = answer || $1 "
        "WHERE exchange_id = (SELECT min(exchange_id) FROM ledger.venue_exchange)",
        API_KEY["secret"],
    )
    async with pm.owner.acquire() as connection, connection.transaction():
        # History cannot be changed, not even by a test, but for one that takes the guard away.
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "UPDATE ledger.signed_order SET body = body || $1 "
            "WHERE order_id = (SELECT min(order_id) FROM ledger.signed_order)",
            bytes.fromhex(PRIVATE_KEY[2:]),
        )


async def test_the_signatures_that_are_looked_for_are_those_that_were_sent(
    pm: PolymarketRig,
) -> None:
    sent: set[str] = set()
    plain = ApiCredentials.signature

    def recorded(self: ApiCredentials, *arguments: Any) -> str:
        signature = plain(self, *arguments)
        sent.add(signature)
        return signature

    with patch.object(ApiCredentials, "signature", recorded):
        async with pm.inside():
            await pm.trading()
            order_id = await pm.reserve(cents=5)
            await pm.until_state(order_id, "LIVE")
            await pm.cancel(order_id)
            await pm.until_state(order_id, "CANCELLED")
            await pm.until_settled()
    key = ApiCredentials(API_KEY["key_id"], API_KEY["secret"], API_KEY["passphrase"])
    made = await level_2_signatures(pm.owner, SIGNER.address, [key])
    assert len(sent) >= 8
    assert sent - set(made.values()) == set()


@pytest.mark.parametrize("secret", ["canary-secret-of-some-length", bytes(range(200, 232))])
def test_a_secret_is_found_in_every_encoding_and_wherever_it_stands(secret: str | bytes) -> None:
    canaries = Canaries({"it": secret})
    raw = secret.encode() if isinstance(secret, str) else secret
    assert canaries.count >= 5
    for before in range(4):
        for after in range(4):
            around = b"<" * before + raw + b">" * after
            for text in (
                around.hex(),
                "0x" + around.hex().upper(),
                base64.b64encode(around).decode(),
                base64.urlsafe_b64encode(around).decode().rstrip("="),
            ):
                assert canaries.found_in(f'{{"x":"{text}"}}') == {"it"}, (before, after, text)
    for form in forms(secret):
        assert canaries.found_in(f"log line {form} and more") == {"it"}
        assert canaries.found_in(form[:-1]) == set()
