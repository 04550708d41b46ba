"""Arguments of ``ledger-worker``, through the parser and commands to a real database: answered, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from proof.fuzzing.bending import ODD_NUMBERS, ODD_TEXTS, damaged
from proof.fuzzing.database import migrated
from proof.fuzzing.model import Check, Random, Surroundings, Target, require
from proof.fuzzing.targets.settings import CANARY, silent
from tests.support.cli import MARKET, Cli
from tests.support.cli import make as make_ledger

_NEVER: Final = frozenset(
    {"start", "demo", "simulator", "doctor", "sync", "reconcile", "keys", "db", "--wait", "--live"}
)
"""Words that would run for long, or ask a server outside. No argument list has one of them."""

_PLACE: Final = [
    "place",
    "--market",
    MARKET,
    "--outcome",
    "Up",
    "--side",
    "BUY",
    "--price",
    "0.45",
    "--size",
    "10",
    "--key",
    "k",
]
_TEMPLATES: Final[tuple[list[str], ...]] = (
    _PLACE, _PLACE, [*_PLACE, "--post-only", "--clamp"], [*_PLACE, "--type", "GTD", "--expires-at",
        "2035-01-31T12:00:00Z"],
    [*_PLACE, "--valid-for", "30s", "--class", "hedge", "--account", "main"],
    ["cancel", "1", "2"], ["cancel", "--market", MARKET, "--why", "x"], ["cancel", "--all", "--account", "main"],
    ["replace", "1", "--price", "0.44", "--size", "5", "--key", "r"], ["orders", "--open", "--limit", "5"],
    ["orders", "--market", MARKET, "--state", "live"], ["order", "show", "1"],
    ["order", "resolve", "1", "--as", "cancelled", "--why", "x", "--final-size", "1"], ["status"], ["risk",
    "--limit", "3"],
    ["audit"], ["limits", "set", "--account", "spare", "--max-order", "10", "--why", "x"],
    ["limits", "set", "--scope", "account:spare", "--max-cost", "100", "--daily-loss", "5", "--why", "x"],
    ["limits", "set", "--account", "spare", "--collar", "0.05", "--weekend", "no", "--self-match", "yes", "--why",
    "x"],
    ["limits"], ["limits", "changes"], ["lanes"], ["lanes", "release", "--market", MARKET, "--why", "x"],
    ["dead-letters", "list"], ["dead-letters", "show", "1"], ["dead-letters", "retry", "1"],
    ["halt", "market:" + MARKET[:-1] + "1", "--why", "x"], ["halt", "account:spare", "--why", "x", "--operator",
    "me"],
    ["resume", "account:spare", "--version", "1", "--why", "x"], ["adopt"], ["adopt", "resolve", "0x" + "a1" * 32,
    "--as", "ended", "--why", "x"],
    ["rewards"], ["rewards", "allocate", "k", "--strategy", "s", "--amount", "1"], ["breakers", "--all"],
    ["breakers", "reset", "--account", "spare", "--why", "x"], ["markets", "list", "--search", "btc", "--limit", "3"],
    ["markets", "import", "odd.json"], ["account", "list"], ["account", "open", "n1", "--collateral", "5"],
    ["account", "grant", "spare", "ledger_trader"], ["account", "revoke", "spare", "ledger_trader", "--why", "x"],
    ["balances"],
    ["balances", "book", "--account", "spare", "--asset", "collateral", "--amount", "1", "--cause", "deposit",
    "--key", "b", "--why", "x"],
    ["withdraw", "list"], ["withdraw", "show", "1"], ["withdraw", "cancel", "1", "--why", "x"],
    ["withdraw", "resolve", "1", "--as", "done", "--why", "x"], ["version"], ["--version"], ["--help"], ["place",
    "--help"],
)  # fmt: skip
_OPTIONS: Final = (
    "--json", "--debug", "--help", "--version", "--account", "--market", "--why", "--limit", "--price", "--size",
    "--key", "--type",
    "--all", "--yes", "--state", "--operator", "--", "-", "-x", "--=", "--no-such", "--json=1", "-jj", "--limit=-1",
    "--key=",
)  # fmt: skip
_ANSWERS: Final = (0, 1, 2, 130)


def make(rng: Random) -> tuple[str, ...]:
    arguments = list(rng.choice(_TEMPLATES))
    if "--key" in arguments and rng.random() < 0.8:
        arguments[arguments.index("--key") + 1] = f"k{rng.getrandbits(40)}"
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        _bend(rng, arguments)
    if rng.random() < 0.4:
        arguments.insert(rng.choice((0, len(arguments))), "--json")
    return tuple(_typed(one) for one in arguments if one not in _NEVER)


def _bend(rng: Random, arguments: list[str]) -> None:
    roll = rng.random()
    at = rng.randrange(len(arguments) + 1)
    if not arguments or roll < 0.15:
        arguments.insert(at, rng.choice(_OPTIONS))
        return
    at = rng.randrange(len(arguments))
    if roll < 0.25:
        del arguments[at]
    elif roll < 0.33:
        arguments.insert(at, arguments[at])
    elif roll < 0.40:
        other = rng.randrange(len(arguments))
        arguments[at], arguments[other] = arguments[other], arguments[at]
    elif roll < 0.46:
        arguments[at] = damaged(rng, arguments[at].encode("utf-8", "surrogateescape")).decode(
            "utf-8", "surrogateescape"
        )[:3_000]
    elif roll < 0.50 and at + 1 < len(arguments):
        arguments[at : at + 2] = [f"{arguments[at]}={arguments[at + 1]}"]
    else:
        # A value more often than a name: what a command does with it lies behind the parser.
        values = [i for i, one in enumerate(arguments) if i and not one.startswith("-")] or [at]
        arguments[rng.choice(values)] = rng.choice(rng.choice((ODD_TEXTS, ODD_NUMBERS, _WORDS)))


_WORDS: Final = (
    "0.45", "10", "-10", "1e3", "1", "99999999999999999999", "0x" + "a1" * 32, "BUY", "sell", "GTD", "30s", "1d",
    "0ms", "none",
    "2035-01-31T12:00:00Z", "9999999999999", "0001-01-01T00:00:00Z", "2035-01-31T12:00:00", "main", "spare",
    "nobody", "global",
    "account:", "market:x", ":", MARKET, "Up", "0", "2", "cancelled", "live", "not_placed", "odd.json", ".",
    "/dev/null", "/", "yes", "no",
)  # fmt: skip


def _typed(text: str) -> str:
    """As a command line can hold it: no NUL, and no half characters but those of bytes that are no UTF-8."""
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "?", text.replace("\0", ""))


# --- running --------------------------------------------------------------------------------------


@contextmanager
def opened(surroundings: Surroundings) -> Iterator[Check]:
    folder = surroundings.workdir / "command-line"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "odd.json").write_text('[{"conditionId": 1, "question": null, "outcomes": "["}]')
    with migrated() as database:
        cli = Cli(database, folder)
        make_ledger(cli)
        cli.good("account", "open", "spare", "--collateral", "100")
        settings = _settings(cli)
        yield lambda given: check(given, settings, folder)


def _secrets() -> dict[str, str]:
    names = (
        "LEDGER_API_SECRET",
        "LEDGER_API_PASSPHRASE",
        "LEDGER_PRIVATE_KEY",
        "LEDGER_VAULT_TOKEN",
    )
    return dict.fromkeys(names, CANARY)


def _settings(cli: Cli) -> dict[str, str]:
    mine = {k: v for k, v in cli.environment().items() if k.startswith("LEDGER_")}
    return _secrets() | mine | {"NO_COLOR": "1", "COLUMNS": "100"}


def check(given: tuple[str, ...], settings: dict[str, str], folder: Path) -> str:
    code, out, err = _run(given, settings, folder)
    told = out + err
    require(code in _ANSWERS, "misread", f"the exit code is {code}")
    require(
        "Traceback (most recent call last)" not in told or "--debug" in given,
        "crash",
        f"a traceback: {told[-200:]}",
    )
    require("UNEXPECTED" not in told, "crash", f"an error of the program itself: {_said(told)}")
    silent(told, "a command")
    if (
        "--json" in given
        and "--help" not in given
        and "--version" not in given
        and code in (0, 1, 2)
    ):
        _one_value(out, given)
    return f"{given[0] if given and given[0].isalpha() else 'other'} {code}"


def _said(told: str) -> str:
    found = re.search(r"an error of the program itself: (.*?) \(error id", told)
    return found[1] if found else told[:200]


def _one_value(out: str, given: tuple[str, ...]) -> None:
    """With ``--json`` there is one value on standard output, errors too."""
    if not out.strip():
        return
    try:
        json.loads(out)
    except ValueError:
        require(
            "--" in given or given[0] in ("version",),
            "misread",
            f"no JSON on standard output: {out[:80]!r}",
        )


def _run(given: tuple[str, ...], settings: dict[str, str], folder: Path) -> tuple[int, str, str]:
    """One command line in this process, under these settings alone."""
    from workers.cli.main import run

    before, was, typed = dict(os.environ), os.getcwd(), sys.stdin
    out, err = io.StringIO(), io.StringIO()
    try:
        for name in [one for one in os.environ if one.upper().startswith("LEDGER_")]:
            del os.environ[name]
        os.environ.update(settings)
        os.chdir(folder)
        sys.stdin = io.StringIO("")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(list(given))
    finally:
        sys.stdin = typed
        os.chdir(was)
        os.environ.clear()
        os.environ.update(before)
    return code, out.getvalue(), err.getvalue()


@contextmanager
def without_database(surroundings: Surroundings) -> Iterator[Check]:
    """The same, as far as a command comes without one: the parser, and what commands check first."""
    folder = surroundings.workdir / "parser"
    folder.mkdir(parents=True, exist_ok=True)
    settings = _secrets() | {
        "LEDGER_DATABASE_URL": f"nowhere:{CANARY}",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    yield lambda given: check(given, settings, folder)


TARGETS: Final = (
    Target("command-line", make, opened, weight=0.8, needs_database=True, bound_s=15.0),
    Target("command-parser", make, without_database, weight=0.4, bound_s=15.0),
)
