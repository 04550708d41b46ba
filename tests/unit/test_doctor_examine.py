"""The doctor's checks together: the order, what is left out when something fails, what is never asked."""

from __future__ import annotations

from typing import Any

from app.config import Settings
from app.errors import Code, DatabaseProblem
from app.secrets import SecretSet
from app.venue.interface import Found
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.wire import Endpoint
from tests.support.doctor import (
    KEYLESS,
    SECRETS,
    WALLETS,
    Index,
    Rows,
    http,
    leaks,
    ports,
    settings,
    shown,
)
from tests.support.polymarket import FakeConnect, FakeHttp, silent
from workers.doctor.examine import Subject, examine
from workers.doctor.findings import Finding, failed


def subject(ask: FakeHttp, connect: FakeConnect | None = None, **given: Any) -> Subject:
    options: dict[str, Any] = {"reader": Rows(), "settings": settings()} | given
    return Subject(
        ports=ports(),
        ask=ask,
        connect=connect or FakeConnect("PONG"),
        **options,
    )


async def results(looked_at: Subject, secrets: SecretSet | None = SECRETS) -> dict[str, str]:
    keys = Finding("keys", "ok" if secrets else "fail", "")
    found = await examine(looked_at, secrets, keys)
    assert len({one.name for one in found}) == len(found), "a check was made twice"
    assert not leaks("".join(shown(one) for one in found))
    return {one.name: one.result for one in found}


async def test_when_all_is_well_nothing_fails_or_warns() -> None:
    found = await results(subject(http()))
    assert set(found.values()) == {"ok", "skipped"}
    assert [name for name, result in found.items() if result == "skipped"] == ["approvals"]


async def test_the_same_checks_are_listed_whatever_fails() -> None:
    every = set(await results(subject(http())))
    dead = http(GET_OK=silent(Endpoint.GET_OK))
    for looked_at, secrets in (
        (subject(dead), SECRETS),
        (subject(http()), None),
        (subject(http()), KEYLESS),
        (subject(http(), reader=None), SECRETS),
        (subject(http(), settings=settings(venue="paper")), None),
        (subject(http(GET_API_KEYS=(401, "no"))), SECRETS),
    ):
        assert set(await results(looked_at, secrets)) == every


async def test_on_paper_nothing_outside_is_asked() -> None:
    ask, connect = http(), FakeConnect()
    found = await results(subject(ask, connect, settings=settings(venue="paper")), None)
    assert {name for name, result in found.items() if result != "skipped"} == {
        "venue",
        "clock, database",
    }
    assert (ask.asked, connect.opened) == ([], [])


async def test_what_needs_a_key_is_not_asked_without_one() -> None:
    ask = http()
    found = await results(subject(ask), KEYLESS)
    assert found["API key"] == found["user channel"] == found["collateral"] == "skipped"
    assert found["order version"] == found["books"] == "ok"
    assert not [how for _, how in ask.asked if how.get("signed")]


async def test_a_refused_key_is_asked_with_once() -> None:
    ask = http(GET_API_KEYS=(401, "no"))
    found = await results(subject(ask))
    assert (found["API key"], found["rate limit tier"]) == ("fail", "skipped")
    assert len([how for _, how in ask.asked if how.get("signed")]) == 1


async def test_a_dead_order_book_is_not_asked_again() -> None:
    ask = http(GET_OK=silent(Endpoint.GET_OK))
    found = await results(subject(ask))
    assert ask.endpoints() == [Endpoint.GET_OK]
    assert found["user channel"] == "ok"
    assert failed([Finding("x", "fail", "")])


async def test_a_database_that_is_away_is_one_failure() -> None:
    away = Rows(
        account=DatabaseProblem(Code.DATABASE_UNREACHABLE, "no route", next_step="start it")
    )
    found = await results(subject(http(), reader=away))
    assert found["clock, database"] == "fail"
    assert found["account"] == found["books"] == found["venue mode"] == "skipped"
    assert found["order version"] == "ok"


async def test_the_official_client_is_asked_about_the_venue_itself_only() -> None:
    index = Index(Found([]))
    assert (await results(subject(http(), approvals=index)))["approvals"] == "skipped"
    live = Settings(
        _env_file=None,
        venue="polymarket",
        live=True,
        signature_type=3,
        funder=WALLETS[SignatureType.POLY_1271],
    )
    assert (await results(subject(http(), approvals=index, settings=live)))["approvals"] == "ok"
