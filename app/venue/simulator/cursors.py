"""Page cursors as the venue makes them: an offset in base64, ``LTE=`` (minus one) behind the last."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

END: Final = "LTE="
_FURTHEST: Final = 1 << 40


def encode_cursor(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode()


def decode_cursor(text: str) -> int | None:
    """The offset; 0 for none given, None for what is not one."""
    if not text:
        return 0
    try:
        offset = int(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return offset if 0 <= offset < _FURTHEST else None


def page(rows: Sequence[Any], cursor: str, limit: int) -> dict[str, Any] | None:
    """One page of a list that may have moved since the last one was read."""
    offset = decode_cursor(cursor)
    if cursor == END or offset is None:
        return None
    shown = list(rows[offset : offset + limit])
    more = offset + limit < len(rows)
    following = encode_cursor(offset + limit) if more else END
    return {"limit": limit, "next_cursor": following, "count": len(shown), "data": shown}
