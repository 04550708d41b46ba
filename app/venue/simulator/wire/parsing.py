"""From what a protocol library read to a `Request`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote

from app.venue.simulator.messages import Request

MAX_BODY: Final = 4 << 20
READ: Final = 1 << 16


def make_request(
    method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes, protocol: str
) -> Request:
    """The target is a path with its query; names of headers become lower case."""
    path, _, query = target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    lists: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        lists[name] = (*lists.get(name, ()), value)
    return Request(
        method.upper(),
        unquote(path),
        {name: values[-1] for name, values in lists.items()},
        {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in headers},
        body,
        protocol,
        lists,
    )
