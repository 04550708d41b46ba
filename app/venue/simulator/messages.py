"""One request and one response, whatever carried them, and the forms in which the venue answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.money import MICROS

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """Names of headers in lower case. ``path`` without its query string."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    protocol: str = "http/1.1"
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Every value of a parameter that may be repeated."""
    at_ms: int = 0
    """The venue's time when it came in."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)

    def plus(self, headers: Mapping[str, str]) -> Response:
        return replace(self, headers={**self.headers, **headers})

    @property
    def value(self) -> Any:
        return json.loads(self.body)


def answer(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Response(status, text.encode() + b"\n")


def refuse(status: int, text: str, *, code: str = "", retry_after_s: int | None = None) -> Response:
    """An error body: ``error``, and for restrictions a code and when to come again."""
    body: dict[str, Any] = {"error": text}
    if code:
        body["code"] = code
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
        if code:
            body["retry_after_seconds"] = retry_after_s
    return answer(body, status).plus(headers)


def number(micros: int) -> float | int:
    """Micros as a JSON number, for the fields that the venue does not write as text.

    The quotient is the nearest double, whose shortest spelling is the decimal itself.
    """
    whole, rest = divmod(micros, MICROS)
    return micros / MICROS if rest else whole
