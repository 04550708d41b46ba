"""How values look in the database: times as text and in JSON, jsonb as text, digests of both.

Times are microseconds since 1970 inside the model. What is digested must be the server's text to the byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BASE64_LINE: Final = 76


class NotModelled(Exception):
    """Something was asked that this model does not know. It never guesses an answer."""


def moment(at_us: int | None) -> datetime | None:
    """As a row tells a timestamptz."""
    return None if at_us is None else _EPOCH + timedelta(microseconds=at_us)


def _text(at_us: int, between: str, zone: str) -> str:
    seconds, rest = divmod(at_us, 1_000_000)
    told = (_EPOCH + timedelta(seconds=seconds)).strftime(f"%Y-%m-%d{between}%H:%M:%S")
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{told}{fraction}{zone}"


def in_json(at_us: int | None) -> str | None:
    """A timestamptz inside jsonb."""
    return None if at_us is None else _text(at_us, "T", "+00:00")


def in_text(at_us: int) -> str:
    """A timestamptz cast to text, time zone UTC."""
    return _text(at_us, " ", "+00")


def epoch(at_us: int) -> str:
    """``extract(epoch FROM ...)`` as text."""
    seconds, rest = divmod(at_us, 1_000_000)
    return f"{seconds}.{rest:06d}"


def jsonb(value: Any) -> str:
    """The text of a jsonb: keys by length, then by bytes."""
    return json.dumps(_sorted(value), ensure_ascii=False)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _sorted(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_sorted(one) for one in value]
    return value


def digest(text: str | bytes | None) -> str | None:
    """SHA-256 in hex; of NULL NULL."""
    if text is None:
        return None
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def base64_lines(text: str) -> str:
    """``encode(..., 'base64')`` breaks lines; ``text`` is in one."""
    return "\n".join(text[n : n + _BASE64_LINE] for n in range(0, len(text), _BASE64_LINE))


def ceil_div(number: int, by: int) -> int:
    return -(-number // by)


def whole(value: Any) -> int | None:
    """``ledger._whole``: an integer, or nothing for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items_of(text: Any) -> list[dict[str, Any]]:
    """A JSON array argument."""
    given = json.loads(text) if isinstance(text, str) else text
    if not isinstance(given, list) or len(given) > 1024:
        raise NotModelled("an argument that is no array of items")
    return given


def refusal(item: int, code: str, detail: str) -> dict[str, Any]:
    return {"item": item, "status": "refused", "code": code, "detail": detail}


def same(uuid: Any) -> str | None:
    """An incarnation, whichever way it travels."""
    return None if uuid is None else str(uuid)


def left(text: str | None, most: int) -> str | None:
    return None if text is None else text[:most]


def numbers(some: Sequence[Any] | None) -> set[int]:
    return {int(one) for one in some or ()}
