"""Addresses of databases: what is read, what is refused, and what is never shown."""

from __future__ import annotations

import asyncpg.connect_utils
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.url import DatabaseUrl, masked, parse
from app.errors import BadInput, Code

SECRET = "s3cr3t-word"


@pytest.mark.parametrize(
    ("text", "hosts", "user", "password", "database"),
    [
        ("postgresql://u:p@h/d", (("h", 5432),), "u", "p", "d"),
        ("postgres://u@h:6000/d", (("h", 6000),), "u", None, "d"),
        ("postgresql+asyncpg://u:p%40%2F@h/d", (("h", 5432),), "u", "p@/", "d"),
        ("postgresql://h/d", (("h", 5432),), None, None, "d"),
        ("postgresql://u@[::1]:6/d", (("::1", 6),), "u", None, "d"),
        ("postgresql://u@a:1,b:2/d", (("a", 1), ("b", 2)), "u", None, "d"),
        ("postgresql://u@a,b/d?port=7", (("a", 7), ("b", 7)), "u", None, "d"),
        ("postgresql://u@/d?host=/run/x", (("/run/x", 5432),), "u", None, "d"),
        ("postgresql://u@%2Frun%2Fx/d", (("/run/x", 5432),), "u", None, "d"),
        ("postgresql:///d?host=a,b&port=1,2", (("a", 1), ("b", 2)), None, None, "d"),
        ("postgresql://h?dbname=d&user=u&password=p", (("h", 5432),), "u", "p", "d"),
    ],
)
def test_an_address_is_read(
    text: str,
    hosts: tuple[tuple[str, int], ...],
    user: str | None,
    password: str | None,
    database: str,
) -> None:
    assert parse(text) == DatabaseUrl(hosts, database, user, password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "ledger",
        "mysql://u:s3cr3t-word@h/d",
        "postgresql://u:s3cr3t-word@h",
        "postgresql://u:s3cr3t-word@h/",
        "postgresql://u:s3cr3t-word@/d",
        "postgresql://u:s3cr3t-word@h:port/d",
        "postgresql://u:s3cr3t-word@h:0/d",
        "postgresql://u:s3cr3t-word@h:65536/d",
        "postgresql://u:s3cr3t-word#@h/d",
        "postgresql://u:a@s3cr3t-word@h/d",
        "postgresql://u:a/s3cr3t-word@h/d",
        "postgresql://u:a?s3cr3t-word@h/d",
        "postgresql://u:s3cr3t-word@::1/d",
        "postgresql://u:s3cr3t-word@[::1/d",
        "postgresql://u:s3cr3t-word@h/d?sslmode=maybe",
        "postgresql://u:s3cr3t-word@h/d?target_session_attrs=writable",
        "postgresql://u:s3cr3t-word@h/d?channel_binding=require",
        "postgresql://u:s3cr3t-word@h/d?port=1,2",
        "postgresql://u:s3cr3t-word@h/d?user",
        "postgresql://u:s3cr3t-word@h/d?host=a&host=b",
        "postgresql://u:s3cr3t-word@h/d\n",
        "postgresql://u:s3cr3t-word@h/a/b",
    ],
)
def test_what_cannot_be_an_address_is_refused_without_repeating_it(text: str) -> None:
    if text.endswith("\n"):
        assert parse(text).database == "d"  # white space around is forgiven
        return
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert caught.value.code is Code.BAD_SETTING
    assert "LEDGER_DATABASE_URL" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_is_shown_nowhere() -> None:
    url = parse(f"postgresql://u:{SECRET}@h/d")
    for shown in (repr(url), url.masked(), str(url.sqlalchemy()), repr(url.sqlalchemy())):
        assert SECRET not in shown
    assert masked(f"postgresql://u:{SECRET}@h/d") == "postgresql://u:***@h:5432/d"
    assert SECRET not in masked(f"postgresql://h/d?password={SECRET}")
    assert SECRET not in masked(f"nonsense {SECRET}")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40%3A@h/d",
        "postgresql://u:p@a:1,b:2/d?target_session_attrs=read-write&sslmode=disable",
        "postgresql://u:p@/d?host=a,[::1]&port=1,2",
        "postgresql://u:p@/d?host=/run/x&port=6000",
        "postgresql:///d?host=/run/x,other&port=1,2",
    ],
)
def test_reading_what_was_written_gives_the_same(text: str) -> None:
    url = parse(text)
    assert parse(url.dsn()) == url


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_any_name_and_password_survives_writing_and_reading(
    user: str, password: str, database: str
) -> None:
    if "/" in database or "\0" in user + password + database:
        return
    try:
        (user + password + database).encode()
    except UnicodeEncodeError:
        return
    url = DatabaseUrl((("h", 5432),), database, user, password)
    assert parse(url.dsn()) == url


def test_the_driver_reads_an_address_as_we_do() -> None:
    text = "postgresql://u:p%40%2F%25@a:1,b:2/d?target_session_attrs=read-write&sslmode=disable"
    arguments = ["host", "port", "user", "password", "passfile", "database", "ssl", "service"]
    arguments += ["servicefile", "direct_tls", "server_settings", "target_session_attrs"]
    addresses, parameters = asyncpg.connect_utils._parse_connect_dsn_and_args(
        dsn=parse(text).dsn(), **dict.fromkeys([*arguments, "krbsrvname", "gsslib"])
    )
    assert addresses == [("a", 1), ("b", 2)]
    assert (parameters.user, parameters.password, parameters.database) == ("u", "p@/%", "d")
    assert parameters.target_session_attrs == "read-write"


def test_sqlalchemy_is_given_what_its_dialect_passes_on() -> None:
    plain = parse("postgresql://u:p@h:6000/d").sqlalchemy()
    assert plain.render_as_string(hide_password=False) == "postgresql+asyncpg://u:p@h:6000/d"
    sockets = parse("postgresql://u:p@/d?host=/run/x&port=6000").sqlalchemy()
    assert (sockets.username, sockets.password, sockets.database) == ("u", "p", "d")
    assert parse(str(sockets.query["dsn"])).hosts == (("/run/x", 6000),)
    assert "p@" not in str(sockets.query["dsn"])
