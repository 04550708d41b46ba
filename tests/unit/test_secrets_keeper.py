"""Keys that change while a process works with them: what is taken up, what is kept, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.clock import Ports
from app.errors import BadInput, Code, LedgerError
from app.secrets import Keeper, Refreshed, SecretSet, open_source
from app.secrets.keeper import REMEMBERED
from app.secrets.types import secrets_of
from tests.support.secrets import ADDRESS, DOCUMENT, KEY, OTHER_KEY, api, leaks
from tests.support.vault import fake_vault, vault_settings


class Script:
    """A source that hands over one reading after another, the last one for ever."""

    place = "a script"

    def __init__(self, *readings: SecretSet | LedgerError) -> None:
        self.readings = list(readings)
        self.reads = 0

    def read(self) -> SecretSet:
        self.reads += 1
        one = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(one, LedgerError):
            raise one
        return one


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.spoken = asyncio.Event()

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))
        self.spoken.set()

    warning = error = info


async def beside(read: Callable[[], SecretSet]) -> SecretSet:
    await asyncio.sleep(0)
    return read()


def reading(name: str | None, key: str = KEY, previous: str | None = None) -> SecretSet:
    current = secrets_of({"private_key": key} | (api(name) if name else {}), "here")
    old = secrets_of({"private_key": key} | api(previous), "here") if previous else None
    return SecretSet(current, old.credentials if old else None)


def keeper(*readings: SecretSet | LedgerError, refresh_s: int = 0) -> tuple[Keeper, Script, Log]:
    script, log = Script(*readings), Log()
    kept = Keeper(script, Ports.system(), log, refresh_s=refresh_s, beside=beside)
    return kept, script, log


async def test_a_rotated_key_is_used_and_the_old_one_found_for_orders_in_flight() -> None:
    kept, _, log = keeper(reading("first"), reading("second"), reading("third"))
    sent_under = kept.credentials.key_id
    assert await kept.refresh() is Refreshed.NEW_KEY
    assert await kept.refresh() is Refreshed.NEW_KEY
    assert kept.credentials.key_id == "third"
    old = kept.credentials_of(sent_under)
    assert old is not None
    assert old.headers(address=ADDRESS, timestamp_s=1, method="GET", path="/x")[
        "POLY_PASSPHRASE"
    ] == ("passphrase-of-first")
    assert kept.credentials_of("never seen") is None
    assert [event for event, _ in log.lines] == ["SECRETS_ROTATED"] * 2
    assert not leaks(repr(log.lines))


async def test_whoever_asks_to_be_told_hears_of_each_new_key_and_of_nothing_else() -> None:
    away = BadInput(Code.BAD_SETTING, "Vault did not hand it over")
    told: list[str] = []
    kept = Keeper(
        Script(
            reading("first"),
            reading("first"),
            away,
            reading("second", key=OTHER_KEY),
            reading("third"),
        ),
        Ports.system(),
        Log(),
        rotated=lambda credentials: told.append(credentials.key_id),
        beside=beside,
    )
    for _ in range(5):
        await kept.refresh()
    assert told == ["third"]


async def test_after_a_restart_the_backend_brings_the_key_before() -> None:
    kept, _, _ = keeper(reading("second", previous="first"))
    assert kept.credentials.key_id == "second"
    old = kept.credentials_of("first")
    assert old is not None
    assert old.key_id == "first"


async def test_a_reading_that_fails_changes_nothing() -> None:
    away = BadInput(Code.BAD_SETTING, "Vault did not hand it over")
    kept, _, log = keeper(reading("first"), away, reading("first"))
    assert await kept.refresh() is Refreshed.FAILED
    assert kept.credentials.key_id == "first"
    assert await kept.refresh() is Refreshed.SAME
    assert [event for event, _ in log.lines] == ["SECRETS_NOT_READ"]


@pytest.mark.parametrize("found", [reading("second", key=OTHER_KEY), reading(None)])
async def test_another_signing_key_or_a_lost_api_key_is_not_taken(found: SecretSet) -> None:
    kept, _, log = keeper(reading("first"), found)
    assert await kept.refresh() is Refreshed.REFUSED
    assert (kept.signer.address, kept.credentials.key_id) == (ADDRESS, "first")
    assert [event for event, _ in log.lines] == ["SECRETS_REFUSED"]
    assert not leaks(repr(log.lines))


async def test_an_api_key_that_is_made_later_is_taken_up() -> None:
    kept, _, _ = keeper(reading(None), reading("first"))
    assert not kept.has_api_key
    assert await kept.refresh() is Refreshed.NEW_KEY
    assert kept.credentials.key_id == "first"


async def test_only_so_many_old_keys_are_remembered_and_never_the_current_forgotten() -> None:
    names = [f"key-{number}" for number in range(REMEMBERED + 5)]
    kept, _, _ = keeper(*[reading(name) for name in names])
    for _ in names:
        await kept.refresh()
    assert kept.credentials_of(names[0]) is None
    assert kept.credentials_of(names[-REMEMBERED]) is not None
    assert kept.credentials_of(names[-1]) is kept.credentials


async def test_asking_for_it_reads_at_once_and_stopping_ends_it() -> None:
    kept, script, log = keeper(reading("first"), reading("second"))
    stopping = asyncio.Event()
    running = asyncio.ensure_future(kept.run(stopping))
    kept.refresh_soon()
    async with asyncio.timeout(10):
        await log.spoken.wait()
        stopping.set()
        await running
    assert kept.credentials.key_id == "second"
    assert script.reads == 2


async def test_the_interval_reads_by_itself() -> None:
    slept: list[float] = []

    class Clock:
        def now_ms(self) -> int:
            return 0

        def monotonic_ns(self) -> int:
            return 0

        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0)

    ports = Ports.system()
    script = Script(reading("first"), reading("second"))
    log = Log()
    given = Ports(Clock(), ports.rng, ports.tasks)
    kept = Keeper(script, given, log, refresh_s=300, beside=beside)
    stopping = asyncio.Event()
    running = asyncio.ensure_future(kept.run(stopping))
    async with asyncio.timeout(10):
        await log.spoken.wait()
        stopping.set()
        await running
    assert kept.credentials.key_id == "second"
    assert set(slept) == {300}


async def test_a_start_without_keys_fails_loudly() -> None:
    with pytest.raises(BadInput, match="no private_key"):
        keeper(BadInput(Code.BAD_SETTING, "there is no private_key"))


async def test_reading_beside_the_loop_lets_the_loop_go_on() -> None:
    """With the real thread: the loop turns while Vault answers."""
    with fake_vault() as vault:
        vault.versions.append(dict(DOCUMENT))
        kept = Keeper(open_source(vault_settings(vault)), Ports.system(), Log())
        vault.versions.append(DOCUMENT | api("second"))
        turning = asyncio.Event()
        task = asyncio.ensure_future(kept.refresh())
        asyncio.get_running_loop().call_soon(turning.set)
        await turning.wait()
        assert await task is Refreshed.NEW_KEY
