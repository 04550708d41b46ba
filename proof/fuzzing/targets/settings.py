"""What stands in the environment and in ``.env``, and addresses of databases: refused in words, and never echoed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from app.config import Settings, load_settings
from app.db.url import DatabaseUrl, masked, parse
from app.errors import BadInput, Code
from proof.fuzzing.bending import ODD_NUMBERS, ODD_TEXTS
from proof.fuzzing.model import Check, Random, Surroundings, Target, Violated, require, steady

CANARY: Final = "caNary7Q9secretZ"
"""Stands in every secret of a run; whatever text it is found in tells too much."""

_SECRETS: Final = tuple(
    name for name, one in Settings.model_fields.items() if "SecretStr" in str(one.annotation)
)
_NAMES: Final = tuple(Settings.model_fields)
_CODES: Final = (Code.BAD_SETTING, Code.BAD_KEY, Code.LIVE_NOT_ALLOWED)
_LIKELY: Final = (
    "polymarket", "paper", "1", "0", "true", "vault", "aws", "env", "prod", "json", "debug", "ledger_", "main",
    "120000", "100",
    "https://clob.polymarket.com", "http://127.0.0.1:8080", "http://example.org", "wss://localhost/ws",
    "https://[::1]:1/", "wss://", "https://user:pw@host", "http://127.0.0.1@evil.example", "halt", "cancel",
    "0x" + "11" * 32,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables, and a file."""

    variables: dict[str, bytes] = field(default_factory=dict)
    file: bytes | None = None
    file_mode: int = 0o600


def make_environment(rng: Random) -> Environment:
    names = rng.sample(_NAMES, rng.randrange(1, 6))
    variables = {_spelled(rng, name): _value(rng, name) for name in names}
    if rng.random() < 0.5:
        for name in rng.sample(_SECRETS, 2):
            variables.setdefault(f"LEDGER_{name.upper()}", _value(rng, name))
    if rng.random() < 0.7:
        return Environment(variables)
    lines = [
        _spelled(rng, name).encode()
        + rng.choice((b"=", b"=", b" = ", b": ", b""))
        + _quoted(rng, _value(rng, name))
        for name in rng.sample(_NAMES, rng.randrange(0, 4))
    ]
    return Environment(variables, b"\n".join(lines), rng.choice((0o600, 0o644, 0o600)))


def _spelled(rng: Random, name: str) -> str:
    full = f"LEDGER_{name.upper()}"
    return rng.choice((full,) * 8 + (full.lower(), full + "_X", f"ledger_{name.upper()}"))


def _value(rng: Random, name: str) -> bytes:
    if name in _SECRETS:
        around = rng.choice(
            (
                b"%s",
                b"0x%s",
                b"%s\xff",
                b" %s ",
                b"postgresql://u:%s@h/d",
                b"postgresql://u:%s@h:x/d",
                b"%s\n%s",
                b"\xc3%s",
            )
        )
        return around.replace(b"%s", CANARY.encode())
    text = rng.choice(rng.choice((_LIKELY, _LIKELY, ODD_TEXTS, ODD_NUMBERS)))
    data = text.encode("utf-8", "surrogatepass").replace(b"\0", b"")
    return data[:2_000] + (b"\xff" if rng.random() < 0.04 else b"")


def _quoted(rng: Random, value: bytes) -> bytes:
    return rng.choice((b"%s", b'"%s"', b"'%s'", b'"%s', b"%s # more", b"${%s}")).replace(
        b"%s", value
    )


@contextmanager
def in_environment(surroundings: Surroundings) -> Iterator[Check]:
    """The check, in a folder whose ``.env`` is the input's."""
    path = surroundings.workdir / ".env"

    logging.getLogger("dotenv.main").setLevel(logging.ERROR)

    def check(given: Environment) -> str:
        before, folder = dict(os.environ), os.getcwd()
        if given.file is not None:
            path.write_bytes(given.file)
            path.chmod(given.file_mode)
        try:
            os.chdir(surroundings.workdir)
            _only({os.fsencode(name): value for name, value in given.variables.items()})
            return _load(given)
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
            path.unlink(missing_ok=True)

    yield check


def _only(variables: dict[bytes, bytes]) -> None:
    for name in [one for one in os.environ if one.upper().startswith("LEDGER_")]:
        del os.environ[name]
    for key, value in variables.items():
        os.environb[key] = value


def _load(given: Environment) -> str:
    try:
        settings = load_settings()
    except BadInput as error:
        require(error.code in _CODES, "misread", f"a setting was refused by {error.code}")
        silent(str(error), "a refused setting")
        return str(error.code)
    silent(repr(settings) + str(settings), "the settings")
    if settings.venue == "polymarket" and not settings.live:
        for name in ("clob", "ws", "market_ws", "gamma", "data"):
            url = getattr(settings, f"polymarket_{name}_url")
            host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
            bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            require(
                bare == "localhost" or bare == "::1" or bare.startswith("127."),
                "misread",
                f"not live, and {name} leads outside",
            )
    require(
        100 <= settings.quarantine_ms <= 86_400_000, "misread", "a quarantine out of its bounds"
    )
    return "loaded"


def silent(text: str, what: str) -> None:
    """No secret of the run stands in the text."""
    require(
        CANARY not in text and CANARY.lower() not in text.lower(),
        "secret",
        f"{what} shows a secret",
    )


# --- addresses of databases -----------------------------------------------------------------------


def make_url(rng: Random) -> str:
    scheme = rng.choice(
        (
            "postgresql",
            "postgres",
            "postgresql+asyncpg",
            "POSTGRESQL",
            "mysql",
            "",
            "postgresql+psycopg",
        )
    )
    password = rng.choice(
        (
            CANARY,
            f"a@{CANARY}",
            f"{CANARY}/x",
            f"{CANARY}#y",
            f"%{CANARY}",
            f"{CANARY}:9",
            quote(f"/@{CANARY}"),
            "",
        )
    )
    host = rng.choice(
        (
            "h",
            "h:5432",
            "[::1]:1",
            "h1,h2:7",
            "",
            "/run/pg",
            "%2Frun%2Fpg",
            "h:99999",
            "[::1",
            "a b",
            "h:",
            "ſ",
            "١.1",
        )
    )
    name = rng.choice(("d", "", "a/b", "%00", "d%20e", "ü", "%ff", "d;x"))
    query = rng.choice(
        (
            "",
            "?sslmode=require",
            "?host=/run/pg",
            f"?password={CANARY}",
            "?sslmode=maybe",
            "?x=1",
            "?host=a,b&port=1,2",
            "?port=0",
            "?host=a&host=b",
            "?user=%",
            "?=",
            "?a",
            "?passfile=/x&sslmode=require",
            "?options=-c%20x",
            "?dbname=z",
        )
    )
    text = f"{scheme}://u:{password}@{host}/{name}{query}"
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at]
            + rng.choice(
                (
                    "@",
                    "/",
                    ":",
                    "%",
                    "#",
                    "?",
                    "\0",
                    " ",
                    "ß",
                    "[",
                    "\ud800",
                    "\n",
                    "&",
                    "",
                    *ODD_TEXTS[:8],
                )
            )
            + text[at + rng.randrange(3) :]
        )
    return text


def check_url(given: str) -> str:
    try:
        found = parse(given)
    except BadInput as error:
        require(
            error.code is Code.BAD_SETTING, "misread", f"an address was refused by {error.code}"
        )
        _hidden(str(error), given)
        _hidden(masked(given), given)
        return "refused"
    _read(found, given)
    return "read"


def _hidden(text: str, given: str) -> None:
    require(CANARY not in text, "secret", "the refusal of an address shows its password")
    require(len(text) < 600, "misread", "a refusal without bound")
    require(
        given.strip() == "" or len(given) < 20 or given not in text,
        "secret",
        "the refusal of an address repeats it",
    )


def _read(found: DatabaseUrl, given: str) -> None:
    shown = found.masked() + repr(found)
    if found.password is not None and CANARY in found.password:
        require(
            CANARY not in shown.replace(quote(found.user or ""), ""),
            "secret",
            "an address shows its password",
        )
    for _, port in found.hosts:
        require(type(port) is int and 1 <= port <= 65_535, "misread", "a port that is none")
    try:
        again = parse(found.dsn())
    except BadInput as error:
        raise Violated(
            "misread",
            f"an address that was read is refused once it is written: {error.wrong[:120]}",
        ) from error
    require(
        again == found,
        "misread",
        f"an address is read as another one once it is written ({len(given)})",
    )
    str(found.sqlalchemy())


TARGETS: Final = (
    Target("environment", make_environment, in_environment, weight=1.2),
    Target("database-address", make_url, steady(check_url), weight=0.6),
)
