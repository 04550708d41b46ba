"""What cannot be right is refused with a code and an exit code, and nothing is written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.markets.files import sample_path
from tests.support.cli import MARKET, Cli, shared_cli_fixture  # noqa: F401

HUGE = "9" * 30
LONG_KEY = "k" * 10_000

PLACED: list[tuple[dict[str, str], str, int]] = [
    ({"price": "0.455"}, "OFF_TICK", 2),
    ({"price": "0"}, "BAD_PRICE", 2),
    ({"price": "1"}, "BAD_PRICE", 2),
    ({"price": "-0.45"}, "BAD_PRICE", 2),
    ({"price": "1.45"}, "BAD_PRICE", 2),
    ({"price": "NaN"}, "BAD_NUMBER", 2),
    ({"price": "Infinity"}, "BAD_NUMBER", 2),
    ({"price": "4.5e-1"}, "BAD_NUMBER", 2),
    ({"price": "0.4500001"}, "BAD_NUMBER", 2),
    ({"price": HUGE}, "BAD_NUMBER", 2),
    ({"price": ""}, "BAD_NUMBER", 2),
    ({"price": "½"}, "BAD_NUMBER", 2),
    ({"size": "0"}, "BAD_SIZE", 2),
    ({"size": "-10"}, "BAD_SIZE", 2),
    ({"size": "10.001"}, "BAD_SIZE", 2),
    ({"size": "nan"}, "BAD_NUMBER", 2),
    ({"size": HUGE}, "BAD_NUMBER", 2),
    ({"size": "10,0"}, "BAD_NUMBER", 2),
    ({"size": "4.99"}, "BELOW_MINIMUM", 2),
    ({"size": "1000000"}, "CAP_OUTCOME", 1),
    ({"market": "no-such-market"}, "UNKNOWN_MARKET", 2),
    ({"market": "0x" + "0" * 64}, "UNKNOWN_MARKET", 2),
    ({"market": ""}, "UNKNOWN_MARKET", 2),
    ({"market": "'; DROP TABLE ledger.orders; --"}, "UNKNOWN_MARKET", 2),
    ({"outcome": "Sideways"}, "UNKNOWN_OUTCOME", 2),
    ({"outcome": "2"}, "UNKNOWN_OUTCOME", 2),
    ({"account": "nobody"}, "UNKNOWN_ACCOUNT", 2),
    ({"side": "HOLD"}, "BAD_REQUEST", 2),
    ({"side": "SELL", "price": "0.55"}, "INSUFFICIENT_TOKENS", 1),
    ({"type": "IOC"}, "BAD_REQUEST", 2),
    ({"type": "GTD"}, "BAD_VALIDITY", 2),
    ({"class": "gamble"}, "BAD_REQUEST", 2),
    ({"valid-for": "30"}, "BAD_VALIDITY", 2),
    ({"valid-for": "-5s"}, "BAD_VALIDITY", 2),
    ({"valid-for": "0s"}, "BAD_VALIDITY", 2),
    ({"valid-for": "8d"}, "BAD_VALIDITY", 2),
    ({"expires-at": "tomorrow"}, "BAD_VALIDITY", 2),
    ({"expires-at": "2030-01-31T12:00:00"}, "BAD_VALIDITY", 2),
    ({"expires-at": "2030-01-31T12:00:00Z"}, "BAD_VALIDITY", 2),
    ({"expires-at": "1000000000", "type": "GTD"}, "BAD_VALIDITY", 2),
    ({"timeout": "soon"}, "BAD_VALIDITY", 2),
]


@pytest.mark.parametrize(("terms", "code", "exit_code"), PLACED)
def test_an_order_that_cannot_be_right_is_refused_and_leaves_no_row(
    shared_cli: Cli, terms: dict[str, str], code: str, exit_code: int
) -> None:
    before = shared_cli.counts()
    done = shared_cli.place("bad", **terms)
    assert (done.error["code"], done.code) == (code, exit_code)
    assert done.error["wrong"]
    assert done.error["next"]
    assert done.error["not_done"].startswith("nothing was")
    assert shared_cli.counts() == before


@pytest.mark.parametrize("key", ["", LONG_KEY, "é" * 101], ids=["empty", "10 kB", "202 bytes"])
def test_a_key_of_the_wrong_length_is_refused(shared_cli: Cli, key: str) -> None:
    before = shared_cli.counts()
    done = shared_cli.place(key)
    assert (done.error["code"], done.code) == ("BAD_KEY", 2)
    assert len(done.out) < 1000
    assert shared_cli.counts() == before


@pytest.mark.parametrize("key", ["\udcff\udcfe", "order-\udcc3"])
def test_a_key_that_is_not_text_is_refused(shared_cli: Cli, key: str) -> None:
    before = shared_cli.counts()
    placed = shared_cli.place(key)
    terms = ("--price", "0.44", "--size", "10")
    replaced = shared_cli.run("replace", "1", *terms, f"--key={key}", "--json")
    for done in (placed, replaced):
        assert (done.error["code"], done.code) == ("BAD_KEY", 2)
        assert "UTF-8" in done.error["wrong"]
        assert "200 bytes" in done.error["next"]
    assert shared_cli.counts() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("orders", "--market", "\udcff"),
        ("halt", "global", "--why", "odd \udcff"),
        ("markets", "import", "\udcff.json"),
        ("\udcff",),
    ],
)
def test_an_argument_that_is_not_text_is_refused_before_anything_is_read(
    shared_cli: Cli, arguments: tuple[str, ...]
) -> None:
    done = shared_cli.run(*arguments, "--json")
    assert (done.error["code"], done.code) == ("BAD_REQUEST", 2)
    assert "UTF-8" in done.error["wrong"]
    assert done.error["next"]


@pytest.mark.parametrize("size", [HUGE, "1000000000.000001", "99999999999"])
def test_a_size_beyond_everything_names_the_largest(shared_cli: Cli, size: str) -> None:
    done = shared_cli.place("huge", size=size)
    assert (done.error["code"], done.code) == ("BAD_NUMBER", 2)
    assert "1000000000" in done.error["next"]


def test_a_collateral_of_the_settings_is_blamed_on_its_setting(shared_cli: Cli) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shared_cli.settings, "LEDGER_PAPER_COLLATERAL", "lots")
        done = shared_cli.run("account", "open", "new", "--json")
    assert (done.error["code"], done.code) == ("BAD_NUMBER", 2)
    assert "LEDGER_PAPER_COLLATERAL" in done.error["wrong"]


def test_a_login_that_is_not_there_is_told_how_to_make_it(shared_cli: Cli) -> None:
    done = shared_cli.run("account", "grant", "main", "ledger_no_such_login", "--json")
    trader = shared_cli.database.server.role_prefix + "trader"
    assert "CREATE ROLE" in done.error["next"]
    assert trader in done.error["next"]


def test_a_missing_account_on_paper_names_the_command_that_opens_it(shared_cli: Cli) -> None:
    done = shared_cli.place("k", account="nobody")
    assert done.error["next"] == "open it: ledger-worker account open nobody --venue paper"


def test_post_only_does_not_go_with_an_order_that_takes(shared_cli: Cli) -> None:
    done = shared_cli.place("k", "--post-only", type="FOK")
    assert (done.error["code"], done.code) == ("BAD_REQUEST", 2)


TERMS = ("--price", "0.44", "--size", "10", "--key", "bad")

BOOK = ("balances", "book", "--asset", "collateral", "--key", "never booked")
WITHDRAW = (
    *("withdraw", "start", "--key", "never", "--why", "x"),
    *("--to", "0x00000000000000000000000000000000000000aa"),
)
TOKENS = (*BOOK[:3], "7", *BOOK[4:], "--amount", "1", "--why", "x")

LIMITS = [
    ("max-order", "-1", "BAD_NUMBER"),
    ("max-order", "1e3", "BAD_NUMBER"),
    ("max-order-cost", HUGE, "BAD_NUMBER"),
    ("max-market-cost", "", "BAD_NUMBER"),
    ("max-imbalance", "0.0000001", "BAD_NUMBER"),
    ("open-orders", "-1", "BAD_NUMBER"),
    ("open-orders", "1.5", "BAD_NUMBER"),
    ("cooldown-ms", "30s", "BAD_NUMBER"),
    ("changes-per-minute", "601", "BAD_NUMBER"),
    ("collar", "1.01", "BAD_NUMBER"),
    ("collar", "NaN", "BAD_NUMBER"),
    ("max-slippage-bps", "1000001", "BAD_NUMBER"),
    ("book-age-ms", "0", "BAD_NUMBER"),
    ("self-match", "maybe", "BAD_REQUEST"),
    ("refuse-duplicates", "true", "BAD_REQUEST"),
    ("duplicate-window-ms", HUGE, "BAD_NUMBER"),
    ("weekend", "", "BAD_REQUEST"),
    ("open-buffer-ms", "-5", "BAD_NUMBER"),
    ("close-buffer-ms", "31536000001", "BAD_NUMBER"),
    ("breaker-rejects", "0", "BAD_NUMBER"),
    ("breaker-cancels", "1001", "BAD_NUMBER"),
    ("slow-ms", "0", "BAD_NUMBER"),
    ("stop-ms", "3600001", "BAD_NUMBER"),
]
TOTALS = [
    (("--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "galaxy", "--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "global:x", "--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "live:x", "--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "account:", "--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "", "--max-cost", "500"), "BAD_REQUEST"),
    (("--scope", "account:nobody", "--max-cost", "500"), "UNKNOWN_ACCOUNT"),
    (("--scope", "global"), "BAD_REQUEST"),
    (("--scope", "global", "--max-order", "5"), "BAD_REQUEST"),
    (("--scope", "global", "--account", "main", "--max-cost", "5"), "BAD_REQUEST"),
    (("--scope", "global", "--open-orders", "5"), "BAD_REQUEST"),
    (("--scope", "group", "--daily-loss", "5"), "BAD_REQUEST"),
    (("--scope", "live", "--drawdown-to", "5"), "BAD_REQUEST"),
    (("--scope", "live", "--max-cost", "-1"), "BAD_NUMBER"),
    (("--scope", "live", "--max-cost", "lots"), "BAD_NUMBER"),
    (("--scope", "live", "--max-shares", HUGE), "BAD_NUMBER"),
    (("--scope", "account", "--changes-per-minute", "100001"), "BAD_NUMBER"),
    (("--scope", "account", "--drawdown-from", "5", "--drawdown-to", "5"), "BAD_REQUEST"),
]
OTHERS: list[tuple[tuple[str, ...], str, int]] = [
    (("cancel",), "BAD_REQUEST", 2),
    (("cancel", "1", "--all"), "BAD_REQUEST", 2),
    (("cancel", "999999"), "UNKNOWN_ORDER", 2),
    (("cancel", "first"), "BAD_REQUEST", 2),
    (("cancel", "9" * 40), "BAD_REQUEST", 2),
    (("cancel", "0x" + "ab" * 32), "UNKNOWN_ORDER", 2),
    (("cancel", "--market", "no-such-market"), "UNKNOWN_MARKET", 2),
    (("cancel", "--all", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("replace", "999999", *TERMS), "UNKNOWN_ORDER", 2),
    (("replace", "first", *TERMS), "BAD_REQUEST", 2),
    (("replace", "{order}", "--price", "x", "--size", "10", "--key", "bad"), "BAD_NUMBER", 2),
    (("replace", "{order}", "--price", "0.4", "--size", "0", "--key", "bad"), "BAD_SIZE", 2),
    (("replace", "{order}", *TERMS[:4], "--key", LONG_KEY), "BAD_KEY", 2),
    (("replace", "{order}", *TERMS[:4], "--key", "standing"), "KEY_REUSED", 1),
    (("orders", "--market", "no-such-market"), "UNKNOWN_MARKET", 2),
    (("orders", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("orders", "--state", "HAPPY"), "BAD_REQUEST", 2),
    (("orders", "--limit", "0"), "BAD_REQUEST", 2),
    (("order", "show", "999999"), "UNKNOWN_ORDER", 2),
    (("order", "show", "-1"), "BAD_REQUEST", 2),
    (("order", "resolve", "{order}", "--as", "lost", "--why", "x"), "BAD_REQUEST", 2),
    (("order", "resolve", "{order}", "--as", "live", "--why", ""), "BAD_REQUEST", 2),
    (("order", "resolve", "{order}", "--as", "live", "--why", "x"), "ILLEGAL_TRANSITION", 1),
    (
        ("order", "resolve", "{order}", "--as", "cancelled", "--why", "x", "--final-size", "NaN"),
        *("BAD_NUMBER", 2),
    ),
    (("order", "resolve", "999999", "--as", "live", "--why", "x"), "UNKNOWN_ORDER", 2),
    (("lanes", "release", "--market", "no-such-market", "--why", "x"), "UNKNOWN_MARKET", 2),
    (
        ("lanes", "release", "--market", MARKET, "--account", "nobody", "--why", "x"),
        *("UNKNOWN_ACCOUNT", 2),
    ),
    (("lanes", "release", "--market", MARKET, "--why", ""), "BAD_REQUEST", 2),
    (("dead-letters", "show", "7"), "BAD_REQUEST", 2),
    (("dead-letters", "retry", "7"), "BAD_REQUEST", 2),
    (("dead-letters", "retry", "seven"), "BAD_REQUEST", 2),
    (("balances", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("halt", "everything", "--why", "x"), "BAD_REQUEST", 2),
    (("halt", "global:1", "--why", "x"), "BAD_REQUEST", 2),
    (("halt", "global", "--why", ""), "BAD_REQUEST", 2),
    (("halt", "account:nobody", "--why", "x"), "UNKNOWN_ACCOUNT", 2),
    (("halt", "market:no-such-market", "--why", "x"), "UNKNOWN_MARKET", 2),
    (("resume", "account:nobody", "--version", "1"), "UNKNOWN_ACCOUNT", 2),
    (("resume", "market:no-such-market", "--version", "1"), "UNKNOWN_MARKET", 2),
    (("halt", "group:", "--why", "x"), "BAD_REQUEST", 2),
    (("resume", "global", "--version", "1"), "STALE_VERSION", 1),
    (("resume", "global", "--version", "0"), "BAD_REQUEST", 2),
    (("resume", "global"), "BAD_REQUEST", 2),
    (("limits", "set", "--why", "x"), "BAD_REQUEST", 2),
    (("limits", "set", "--max-outcome", "100"), "BAD_REQUEST", 2),
    (("limits", "set", "--max-outcome", "100", "--why", ""), "BAD_REQUEST", 2),
    (("limits", "set", "--max-outcome", "-1", "--why", "x"), "BAD_NUMBER", 2),
    (("limits", "set", "--max-outcome", "NaN", "--why", "x"), "BAD_NUMBER", 2),
    (("limits", "set", "--max-market", HUGE, "--why", "x"), "BAD_NUMBER", 2),
    (("limits", "set", "--per-minute", "601", "--why", "x"), "BAD_NUMBER", 2),
    (("limits", "set", "--gap-ms", "1.5", "--why", "x"), "BAD_NUMBER", 2),
    (
        ("limits", "set", "--max-outcome", "50", "--per-minute", "-1", "--why", "x"),
        *("BAD_NUMBER", 2),
    ),
    (("limits", "set", "--per-minute", "1", "--market", "nope", "--why", "x"), "UNKNOWN_MARKET", 2),
    (("limits", "set", "--per-minute", "1", "--account", "no", "--why", "x"), "UNKNOWN_ACCOUNT", 2),
    *(
        (("limits", "set", f"--{name}", given, "--why", "x"), code, 2)
        for name, given, code in LIMITS
    ),
    *((("limits", "set", *given, "--why", "x"), code, 2) for given, code in TOTALS),
    (("limits", "changes", "--limit", "0"), "BAD_REQUEST", 2),
    (("risk", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("risk", "--limit", "0"), "BAD_REQUEST", 2),
    (("breakers", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("breakers", "reset"), "BAD_REQUEST", 2),
    (("breakers", "reset", "--why", " "), "BAD_REQUEST", 2),
    (("breakers", "reset", "--why", "x", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("breakers", "reset", "--why", "x", "--market", "nope"), "UNKNOWN_MARKET", 2),
    (("markets", "list", "--market", "no-such-market"), "UNKNOWN_MARKET", 2),
    (("markets", "import"), "BAD_REQUEST", 2),
    (("markets", "sync", "--slug", "x", "--event", "y"), "BAD_REQUEST", 2),
    (("markets", "sync", "--slug", ""), "BAD_REQUEST", 2),
    (("markets", "sync", "--pages", "2"), "BAD_REQUEST", 2),
    (("doctor", "--market", "x"), "BAD_REQUEST", 2),
    (("doctor", "--live"), "BAD_SETTING", 2),
    (("keys", "derive"), "BAD_REQUEST", 2),
    (("keys", "derive", "--to", ""), "BAD_REQUEST", 2),
    (("keys", "derive", "--to", "keys.env", "--nonce", "-1"), "BAD_REQUEST", 2),
    (("keys", "derive", "--to", "keys.env"), "BAD_SETTING", 2),
    (("balances", "book"), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", "0", "--cause", "deposit", "--why", "x"), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", "1e3", "--cause", "deposit", "--why", "x"), "BAD_NUMBER", 2),
    ((*BOOK, "--amount", "-1", "--cause", "deposit", "--why", "x"), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", "1", "--cause", "withdrawal", "--why", "x"), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", "1", "--cause", "gift", "--why", "x"), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", "1", "--cause", "deposit", "--why", " "), "BAD_REQUEST", 2),
    ((*BOOK, "--amount", HUGE, "--cause", "deposit", "--why", "x"), "BAD_NUMBER", 2),
    (
        (*BOOK, "--amount", "1", "--cause", "deposit", "--why", "x", "--value", "1"),
        *("BAD_REQUEST", 2),
    ),
    ((*TOKENS, "--cause", "redemption"), "BAD_REQUEST", 2),
    ((*TOKENS, "--cause", "resolution"), "BAD_REQUEST", 2),
    ((*TOKENS, "--cause", "redemption", "--value", "-1"), "BAD_REQUEST", 2),
    ((*TOKENS, "--cause", "conversion", "--value", "x"), "BAD_NUMBER", 2),
    ((*TOKENS, "--cause", "redemption", "--value", "1"), "UNKNOWN_OUTCOME", 2),
    (
        (*BOOK, "--amount", "1", "--cause", "deposit", "--why", "x", "--account", "nobody"),
        *("UNKNOWN_ACCOUNT", 2),
    ),
    (
        (*BOOK, "--asset", "7", "--amount", "1", "--cause", "split", "--why", "x"),
        *("UNKNOWN_OUTCOME", 2),
    ),
    (("withdraw", "start"), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "0"), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "-1"), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "lots"), "BAD_NUMBER", 2),
    ((*WITHDRAW, "--amount", "1e3"), "BAD_NUMBER", 2),
    ((*WITHDRAW, "--amount", HUGE), "BAD_NUMBER", 2),
    ((*WITHDRAW, "--amount", "1", "--to", "0x12"), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "1", "--to", "0x" + "0" * 40), "BAD_REQUEST", 2),
    # One letter of the other case: a mistyped address, not another spelling.
    ((*WITHDRAW, "--amount", "1", "--to", "0x" + "a" * 39 + "A"), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "1", "--why", " "), "BAD_REQUEST", 2),
    ((*WITHDRAW, "--amount", "1", "--key", ""), "BAD_KEY", 2),
    ((*WITHDRAW, "--amount", "1", "--key", "k" * 201), "BAD_KEY", 2),
    ((*WITHDRAW, "--amount", "1", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    ((*WITHDRAW, "--amount", "1", "--drain-within", "soon"), "BAD_VALIDITY", 2),
    ((*WITHDRAW, "--amount", "1", "--drain-within", "2d"), "BAD_VALIDITY", 2),
    ((*WITHDRAW, "--amount", "1", "--alarm-after", "0s"), "BAD_VALIDITY", 2),
    ((*WITHDRAW, "--amount", "1", "--timeout", "1"), "BAD_VALIDITY", 2),
    ((*WITHDRAW, "--amount", "1000000"), "INSUFFICIENT_COLLATERAL", 1),
    (("withdraw", "list", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("withdraw", "show", "7"), "BAD_REQUEST", 2),
    (("withdraw", "show", "first"), "BAD_REQUEST", 2),
    (("withdraw", "cancel", "7", "--why", "x"), "BAD_REQUEST", 2),
    (("withdraw", "resolve", "7", "--as", "done", "--why", "x"), "BAD_REQUEST", 2),
    (("withdraw", "resolve", "7", "--as", "gone", "--why", "x"), "BAD_REQUEST", 2),
    (("withdraw", "resolve", "7", "--as", "done"), "BAD_REQUEST", 2),
    (("account", "open", "Main"), "BAD_REQUEST", 2),
    (("account", "open", "x" * 64), "BAD_REQUEST", 2),
    (("account", "open", "new", "--collateral", "lots"), "BAD_NUMBER", 2),
    (("account", "open", "new", "--collateral", "-1"), "BAD_NUMBER", 2),
    (("account", "open", "new", "--venue", "polymarket", "--collateral", "1"), "BAD_REQUEST", 2),
    (("account", "open", "main", "--venue", "polymarket"), "BAD_REQUEST", 2),
    (("account", "open", "new", "--venue", "binance"), "BAD_REQUEST", 2),
    (("account", "grant", "nobody", "bot"), "UNKNOWN_ACCOUNT", 2),
    (("account", "grant", "main", "ledger_no_such_login"), "UNKNOWN_ROLE", 2),
    (("account", "grant", "main", ""), "BAD_REQUEST", 2),
    (("account", "grant", "main", "b" * 64), "BAD_REQUEST", 2),
    (("adopt", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("reconcile", "--account", "nobody"), "UNKNOWN_ACCOUNT", 2),
    (("db", "start"), "BAD_REQUEST", 2),
    (("db", "stop"), "BAD_REQUEST", 2),
    (("db", "url", "--role", "king"), "BAD_REQUEST", 2),
]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"), OTHERS, ids=[" ".join(one[0])[:60] for one in OTHERS]
)
def test_a_command_that_cannot_be_right_is_refused_and_leaves_no_row(
    shared_cli: Cli, arguments: tuple[str, ...], code: str, exit_code: int
) -> None:
    (standing,) = shared_cli.fetch("SELECT order_id FROM ledger.orders WHERE key = 'standing'")
    filled = [part.format(order=standing["order_id"]) for part in arguments]
    before = shared_cli.counts()
    done = shared_cli.run(*filled, "--json")
    assert (done.error["code"], done.code) == (code, exit_code), done
    assert done.error["wrong"]
    assert done.error["next"]
    assert done.error["not_done"].startswith(("nothing", "no market", "no key"))
    assert shared_cli.counts() == before


def _truncated(text: str) -> bytes:
    return text[: len(text) // 2].encode()


FILES: dict[str, Callable[[str], bytes]] = {
    "truncated": _truncated,
    "truncated gzip": lambda text: gzip.compress(text.encode())[:-200],
    "empty": lambda text: b"",
    "a number": lambda text: b"42",
    "text": lambda text: b"id,slug\n1,a\n",
    "html": lambda text: b"<html></html>",
    "binary": lambda text: bytes(range(256)),
    "not UTF-8": lambda text: b'{"question": "\xff"}',
    "nested": lambda text: b"[" * 10_000 + b"]" * 10_000,
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_cannot_be_read_is_named_and_nothing_of_it_is_taken(
    shared_cli: Cli, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "markets.json"
    file.write_bytes(FILES[kind](sample_path().read_text()))
    before = shared_cli.counts()
    done = shared_cli.run("markets", "import", str(file), "--json")
    assert (done.error["code"], done.code) == ("BAD_FILE", 2)
    assert "markets.json" in done.error["wrong"]
    assert done.error["next"]
    assert shared_cli.counts() == before


def test_a_file_that_is_not_there_is_named(shared_cli: Cli) -> None:
    done = shared_cli.run("markets", "import", "nowhere.json", "--json")
    assert (done.error["code"], done.code) == ("BAD_FILE", 2)
    assert "nowhere.json" in done.error["wrong"]


def test_a_field_of_the_wrong_type_makes_a_market_untradable_and_says_why(
    shared_cli: Cli, tmp_path: Path
) -> None:
    event = json.loads(sample_path().read_text())[0]
    market = event["markets"][0] | {
        "conditionId": "0x" + "7" * 64,
        "orderMinSize": "a few",
        "slug": "odd-types",
        "clobTokenIds": json.dumps(["7001", "7002"]),
    }
    file = tmp_path / "odd.json"
    file.write_text(json.dumps([market]))
    done = shared_cli.good("markets", "import", str(file))
    assert (done["markets"], done["tradable"]) == (1, 0)
    assert any(
        "MIN_SIZE" in reason.upper() or "orderMinSize" in reason
        for reason in done["untradable_reasons"]
    )
    before = shared_cli.counts()
    refused = shared_cli.place("k", market="odd-types")
    assert refused.error["code"] == "NOT_TRADABLE"
    orders = {name: n for name, n in shared_cli.counts().items() if name != "ledger.exposure"}
    assert orders == {name: n for name, n in before.items() if name != "ledger.exposure"}
