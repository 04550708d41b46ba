"""The ledger's functions as text: where each begins and ends, and its body as tokens with their depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_FUNCTION: Final = re.compile(
    r"^CREATE FUNCTION (?P<name>ledger\.\w+)\(.*?AS \$\$(?P<body>.*?)\$\$;",
    re.DOTALL | re.MULTILINE,
)
_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<text>[EeXx]?'(?:[^']|'')*'|\$(?P<tag>[a-z]\w*)\$.*?\$(?P=tag)\$)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<sign>:=|::|<>|<=|>=|=>|->>|->|\#>>|\|\||!~|@>|&&|\.\.|[-+*/<>=~%^,;()\[\].:?\#])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Function:
    """One ``CREATE FUNCTION`` statement of a file."""

    name: str
    start: int
    end: int
    body_start: int
    text: str
    body: str


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, text or sign; ``start`` and ``end`` count from the body's begin. A bracket that opens or closes,
    and ``CASE`` and its ``END``, stand at the depth outside.
    """

    kind: str
    text: str
    start: int
    end: int
    depth: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text in words

    def is_sign(self, *signs: str) -> bool:
        return self.kind == "sign" and self.text in signs


@lru_cache(maxsize=128)
def functions(text: str) -> tuple[Function, ...]:
    """All functions of a file. Raises `ValueError` where one cannot be read."""
    found = tuple(
        Function(m["name"], m.start(), m.end(), m.start("body"), m[0], m["body"])
        for m in _FUNCTION.finditer(text)
    )
    stated = len(re.findall(r"^CREATE FUNCTION ", text, re.MULTILINE))
    if len(found) != stated:
        raise ValueError(f"{stated} functions are stated and {len(found)} were read")
    return found


def function_at(text: str, place: int) -> Function | None:
    """The function around a place of the file."""
    return next((one for one in functions(text) if one.start <= place < one.end), None)


def changed(before: str, after: str) -> list[Function]:
    """The functions of ``after`` that read differently in ``before``."""
    old = {(one.name, one.text) for one in functions(before)}
    return [one for one in functions(after) if (one.name, one.text) not in old]


def tokens(body: str) -> list[Token]:
    """The body without space and comments. Raises `ValueError` at what it cannot read."""
    return list(_tokens(body))


def _tokens(body: str) -> Iterator[Token]:
    place = depth = 0
    cases: list[bool] = []
    while place < len(body):
        match = _TOKEN.match(body, place)
        if match is None:
            raise ValueError(f"cannot read {body[place : place + 30]!r}")
        place = match.end()
        kind = str(match.lastgroup if match.lastgroup != "tag" else "text")
        if kind == "space":
            continue
        text = match[0]
        word = text.upper() if kind == "word" else text
        closes = word in (")", "]") or (word == "END" and bool(cases) and cases[-1])
        if closes:
            depth -= 1
            cases.pop()
        yield Token(kind, text, match.start(), match.end(), depth)
        if word in ("(", "[", "CASE"):
            depth += 1
            cases.append(word == "CASE")
