"""Exchanges with the venue, bent, and what holds of every outcome whatever the exchange was.

The readings here are made from the documentation alone (docs/venue.md), with the JSON library and no line of the code
that they are held against.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing.bending import bent, changes_of, damaged, encoded
from proof.fuzzing.model import Random, require

OURS: Final = "0x" + "a1" * 32
SECOND: Final = "0x" + "b2" * 32
THIRD: Final = "0x" + "c3" * 32
STRANGER: Final = "0x" + "ee" * 32
IDS: Final = (OURS, SECOND, THIRD)

MOST_TEXT: Final = 4_200
"""Of an answer that is kept beside an outcome."""


class Nonsense(Exception):
    """Not the one JSON value that an answer must be."""


class Inexact(str):
    """A number with a fraction or an exponent: as text, since a float is not what was written."""

    __slots__ = ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Nonsense("a key twice")
    return found


def _never(name: str) -> Any:
    raise Nonsense(name)


def plainly(data: bytes) -> Any:
    """The JSON of a body, strictly: UTF-8, one value, no key twice, no NaN."""
    limit = sys.getrecursionlimit()
    try:
        text = data.decode("utf-8")
        # With more room than the code under test has: what it can read, can be read here.
        sys.setrecursionlimit(limit + 1_000)
        return json.loads(text, object_pairs_hook=_once, parse_constant=_never, parse_float=Inexact)
    except (ValueError, RecursionError) as error:
        raise Nonsense(str(error)) from error
    finally:
        sys.setrecursionlimit(limit)


def body_of(exchange: Exchange) -> Any:
    """The value of a complete answer, or `Nonsense`."""
    if exchange.phase is not Phase.DONE:
        raise Nonsense("no complete answer")
    return plainly(exchange.body)


STATUSES: Final = (
    200,
    201,
    204,
    301,
    400,
    401,
    403,
    404,
    408,
    409,
    425,
    429,
    500,
    502,
    503,
    504,
    520,
    0,
    999,
)


def bent_exchange(
    rng: Random,
    endpoint: Endpoint,
    tree: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    changes: int | None = None,
) -> Exchange:
    """An answer whose body is a bent document, now and then under another status or not complete."""
    many = changes_of(rng) if changes is None else changes
    data = encoded(rng, bent(rng, tree, many)) if many else encoded(rng, tree, damage=0.0)
    roll = rng.random() if many else 1.0
    if roll < 0.06:
        phase = rng.choice((Phase.CONNECTING, Phase.SENDING, Phase.READING))
        cut = data[: rng.randrange(len(data) + 1)] if phase is Phase.READING else b""
        seen = rng.choice(STATUSES) if phase is Phase.READING else 0
        return Exchange(endpoint, phase, seen, headers or {}, cut, "timeout")
    if roll < 0.20:
        status = rng.choice(STATUSES)
    return Exchange(endpoint, Phase.DONE, status, headers or odd_headers(rng), data)


def odd_headers(rng: Random) -> dict[str, str]:
    """Mostly none."""
    if rng.random() < 0.85:
        return {}
    given = {
        "content-type": rng.choice(
            ("application/json", "text/html; charset=utf-8", "", "TEXT/HTML")
        )
    }
    if rng.random() < 0.5:
        given["retry-after"] = rng.choice(("1", "0", "-1", "1e9", "99999999999", "soon", "٣"))
    return given


def broken_body(rng: Random, make: Callable[[], Any]) -> bytes:
    """A body that was damaged as bytes only."""
    return damaged(rng, encoded(rng, make(), damage=0.0))


def printable_enough(text: str, what: str) -> None:
    """Texts beside an outcome are bounded, whatever the venue wrote."""
    require(isinstance(text, str), "misread", f"{what} is no text: {type(text).__name__}")
    require(len(text) <= MOST_TEXT, "misread", f"{what} is kept without bound: {len(text)}")


def whole(value: object, low: int, high: int, what: str) -> None:
    """An amount is an `int` within its bounds: never a float, never a truth value."""
    require(type(value) is int, "misread", f"{what} is a {type(value).__name__}")
    require(low <= value <= high, "misread", f"{what} is {str(value)[:40]}")  # type: ignore[operator]
