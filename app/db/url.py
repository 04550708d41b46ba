"""Reads database addresses: checks them before anything connects, and hides their password wherever
they are shown.

Error messages never repeat the address or a part that could be the password: a forgotten ``%40``
moves parts of a password into the host name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from app.errors import BadInput, Code

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
_DEFAULT_PORT: Final = 5432

_CHOICES: Final = {
    "target_session_attrs": (
        "any", "primary", "standby", "prefer-standby", "read-write", "read-only",
    ),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
}  # fmt: skip
_PARAMETERS: Final = frozenset(_CHOICES) | {
    "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "passfile", "krbsrvname", "gsslib",
    "application_name", "options",
}  # fmt: skip
"""What asyncpg reads from an address. It passes anything else to the server as a setting, which
fails far from the cause.
"""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A checked address. ``hosts`` are (name or socket folder, port) pairs, tried in order."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    parameters: tuple[tuple[str, str], ...] = ()

    def dsn(self) -> str:
        """For asyncpg. Contains the password."""
        return self._render(self.password)

    def masked(self) -> str:
        """For people and logs."""
        return self._render("***" if self.password is not None else None)

    def sqlalchemy(self) -> URL:
        """For SQLAlchemy's asyncpg dialect; its own rendering hides the password.

        Hosts and parameters travel in asyncpg's ``dsn`` argument, since the dialect knows neither
        several hosts with socket folders among them nor the names of the TLS parameters.
        """
        plain = (
            len(self.hosts) == 1 and not self.parameters and not self.hosts[0][0].startswith("/")
        )
        if plain:
            return self._sqlalchemy_url(host=self.hosts[0][0], port=self.hosts[0][1])
        rest = replace(self, user=None, password=None)
        return self._sqlalchemy_url(query={"dsn": rest.dsn()})

    def _sqlalchemy_url(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        query: dict[str, str] | None = None,
    ) -> URL:
        from sqlalchemy.engine import URL  # a tenth of a second that commands need not pay

        return URL.create(
            "postgresql+asyncpg",
            username=self.user,
            password=self.password,
            host=host,
            port=port,
            database=self.database,
            query=query or {},
        )

    def for_database(self, name: str) -> DatabaseUrl:
        return replace(self, database=name)

    def for_role(self, user: str, password: str | None) -> DatabaseUrl:
        return replace(self, user=user, password=password)

    def _render(self, password: str | None) -> str:
        login = "" if self.user is None else quote(self.user, safe="")
        if password is not None:
            login += ":" + quote(password, safe="*")
        query = list(self.parameters)
        where = ""
        several = len(self.hosts) > 1
        if any(host.startswith("/") or (several and ":" in host) for host, _ in self.hosts):
            query = [
                ("host", ",".join(_bracketed(host) for host, _ in self.hosts)),
                ("port", ",".join(str(port) for _, port in self.hosts)),
                *query,
            ]
        else:
            where = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        tail = "?" + urlencode(query, safe="/,[]:", quote_via=quote) if query else ""
        name = quote(self.database, safe="")
        return f"postgresql://{login}{'@' if login else ''}{where}/{name}{tail}"


def parse(text: str, *, setting: str = "LEDGER_DATABASE_URL") -> DatabaseUrl:
    """Check an address. Raises `BadInput` with ``BAD_SETTING``, blaming ``setting``."""
    text = text.strip()
    if not text:
        raise _bad(setting, "is empty; unset it for the embedded server")
    if any(ord(char) < 32 for char in text):
        raise _bad(setting, "holds control characters")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise _bad(setting, "is not UTF-8 text")
    scheme, separator, _ = text.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise _bad(setting, f"does not begin with one of {', '.join(s + '://' for s in _SCHEMES)}")
    try:
        parts = urlsplit(text)
        query = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict"
        )
    except ValueError:
        raise _bad(setting, "cannot be read: its host or its parameters are malformed") from None
    if "#" in text:
        raise _bad(setting, "holds a '#'; inside a password write it as %23")
    if parts.netloc.count("@") > 1:
        raise _bad(setting, "holds more than one '@'; inside a password write it as %40")
    if "@" in parts.path or "@" in parts.query:
        raise _bad(
            setting,
            "holds an '@' behind a '/' or '?'; inside a password write these as %2F and %3F",
        )
    login, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    given = dict(query)
    if len(given) != len(query):
        raise _bad(setting, "gives a parameter twice; write several hosts as host=a,b")
    database = (
        unquote(parts.path.removeprefix("/"))
        or given.pop("dbname", "")
        or given.pop("database", "")
    )
    found = DatabaseUrl(
        hosts=_hosts(setting, hosts, given),
        database=_one_database(setting, database),
        user=given.pop("user", "") or unquote(user) or None,
        password=given.pop("password", None) or (unquote(password) if colon else None),
        parameters=tuple(given.items()),
    )
    _check_parameters(setting, given)
    return found


def masked(text: str) -> str:
    """An address fit to be shown; one that cannot be read is not shown at all."""
    try:
        return parse(text).masked()
    except BadInput:
        return "(an unreadable database address)"


def _one_database(setting: str, name: str) -> str:
    if not name or "/" in name or "\0" in name:
        raise _bad(setting, "names no database; end the address with /NAME, before any '?'")
    return name


def _hosts(setting: str, listed: str, given: dict[str, str]) -> tuple[tuple[str, int], ...]:
    """Hosts from ``host=`` where given, else from the address itself, each with its port."""
    named = given.pop("host", "")
    ports = [p for p in given.pop("port", "").split(",") if p]
    pairs = [
        _host_and_port(setting, entry) for entry in (named or unquote(listed)).split(",") if entry
    ]
    if not pairs:
        raise _bad(setting, "names no host; for a Unix socket add ?host=/folder")
    if len(ports) not in (0, 1, len(pairs)):
        raise _bad(setting, "gives another number of ports than of hosts")
    shared = ports * len(pairs) if len(ports) == 1 else ports
    return tuple(
        (host, own or _port(setting, shared[i] if shared else str(_DEFAULT_PORT)))
        for i, (host, own) in enumerate(pairs)
    )


def _host_and_port(setting: str, entry: str) -> tuple[str, int | None]:
    if entry.startswith("/"):
        return entry, None
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s?#@\x00-\x1f]+))(?::(\d*))?", entry)
    if match is None:
        raise _bad(setting, "holds a host that cannot be read; write IPv6 addresses in brackets")
    return match[1] or match[2], _port(setting, match[3]) if match[3] else None


def _port(setting: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _bad(setting, "holds a port that is not a number from 1 to 65535")
    return int(text)


def _check_parameters(setting: str, given: dict[str, str]) -> None:
    for name, value in given.items():
        if name not in _PARAMETERS:
            raise _bad(
                setting, f"holds the parameter {name[:30]!r}, which the driver does not know"
            )
        if name in _CHOICES and value not in _CHOICES[name]:
            raise _bad(setting, f"gives {name} another value than {', '.join(_CHOICES[name])}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("/") else host


def _bad(setting: str, wrong: str) -> BadInput:
    return BadInput(
        Code.BAD_SETTING,
        f"{setting} {wrong}",
        not_done="no connection was tried",
        next_step="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters "
        "as %XX",
    )
