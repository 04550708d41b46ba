"""Documents as trees that can be written wrongly: keys twice, numbers no decoder likes, bytes that are no text.

A valid document comes in, some places of it are changed, and bytes come out. Most inputs are changed in one or two
places: an answer that is nearly right is read further than rubbish is.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from proof.fuzzing.model import Random


class Raw(str):
    """Text that is written as it is, whatever a JSON writer would think of it."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may stand twice."""


def write(value: Any, *, ascii_only: bool = True) -> str:
    """The text of a tree."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict | Pairs):
        pairs = value.items() if isinstance(value, dict) else value
        inside = (
            f"{json.dumps(str(k), ensure_ascii=ascii_only)}:{write(v, ascii_only=ascii_only)}"
            for k, v in pairs
        )
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(write(one, ascii_only=ascii_only) for one in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


# --- odd values -----------------------------------------------------------------------------------

ODD_NUMBERS: Final = (
    *("0", "-0", "1", "-1", "1.0", "0.1", "-0.5", "1e5", "1E-7", "1e400", "-1e400", "1e99", "0.0000001"),
    *("0.30000000000000004", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("1000000000000000", "1000000000000001", "1" + "0" * 30, "9" * 78, "9" * 400, "9" * 4300, "9" * 4301),
    *("NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10", "1_000", "1e", "--1", "5e-1"),
    *("0." + "3" * 59, "0." + "3" * 200, "1e-99", "123456789.123456", "123456789.1234567", "1794909600"),
)  # fmt: skip
ODD_TEXTS: Final = (
    *("", " ", "0", "-1", "null", "true", "NaN", "1e5", "1,000", "1_000", "0x", "0x0", "LIVE", "live", "BUY"),
    *("\0", "a\0b", "\ud800", "\udfff\ud800", "\u202e", "\u2028", "\x1b[2J", "\x7f", "\ufeff", "💥" * 3),
    *("٣", "１２", "²", "Ⅷ", "ſ", "İ", "ß", "K", "% s %d {0} {}", "'; DROP TABLE x; --", "../../etc/passwd"),
    *("9" * 30, "9" * 100, "0." + "1" * 60, "0.0000001", "0.1234567", ".5", "5.", "+5", " 5 ", "5\n", "1e-1"),
    *("1794909600", "1794909600000", "99999999999999999", "2026-11-17T10:00:00Z", "2026-11-17T10:00:00",
    "0001-01-01T00:00:00+23:59"),
    *("LTE=", "MA==", "MTAw", "not enough balance / allowance", "order timed out", "Duplicated", "<html>"),
    *("order 0x" + "a1" * 32 + " is invalid. Duplicated.", "Unauthorized/Invalid api key", "x" * 1_001, "y" * 5_000),
)  # fmt: skip

DEPTH: Final = 60
"""Every check is called at this depth of the stack, so that what gives up first is the same in each run."""

_NEAR_LIMIT: Final = sys.getrecursionlimit()


def nested(rng: Random) -> Raw:
    """Depths at which decoders, printers and stacks give up: one of them sooner than the others."""
    near = _NEAR_LIMIT - rng.randrange(DEPTH, DEPTH + 60)
    depth = rng.choice((3, 13, 100, near, near, near, 5_000, 20_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    if rng.random() < 0.1:
        closing = ""
    return Raw(opening * depth + rng.choice(("", "1", '"x"')) * bool(closing) + closing * depth)


def odd(rng: Random) -> Any:
    """A value that hardly belongs where it is put."""
    roll = rng.random()
    if roll < 0.38:
        return Raw(rng.choice(ODD_NUMBERS))
    if roll < 0.76:
        return rng.choice(ODD_TEXTS)
    if roll < 0.82:
        return rng.choice(ODD_NUMBERS)
    if roll < 0.94:
        return rng.choice((None, None, True, False, [], {}, [[]], [None], [{}], {"": ""}))
    if roll < 0.97:
        return nested(rng)
    return _noise(rng)


def _noise(rng: Random) -> str:
    return "".join(chr(_code(rng)) for _ in range(rng.randrange(1, 40)))


def _code(rng: Random) -> int:
    most = rng.choice((0x7F, 0xFF, 0x7FF, 0xFFFF, 0x10FFFF))
    return rng.randrange(most + 1)


# --- changes at one place -------------------------------------------------------------------------

Place = tuple[Any, Any]
"""A container and the key or index in it."""


def places(tree: Any, most: int = 400) -> list[Place]:
    """Every place of a tree whose value can be changed."""
    found: list[Place] = []
    waiting = [tree]
    while waiting and len(found) < most:
        one = waiting.pop()
        if isinstance(one, dict):
            found += [(one, key) for key in one]
            waiting += [value for value in one.values() if isinstance(value, dict | list)]
        elif isinstance(one, list) and not isinstance(one, Pairs):
            found += [(one, at) for at in range(min(len(one), 50))]
            waiting += [value for value in one[:50] if isinstance(value, dict | list)]
    return found


def bent(rng: Random, tree: Any, changes: int) -> Any:
    """The tree (changed in place) with so many changes; the root itself may be what changes."""
    for _ in range(changes):
        known = places(tree)
        if not known or rng.random() < 0.04:
            tree = _value(rng, tree, known)
            continue
        holder, key = rng.choice(known)
        if isinstance(holder, dict) and key in holder:
            _in_object(rng, holder, key, known)
        elif isinstance(holder, list) and key < len(holder):
            _in_list(rng, holder, key, known)
    return tree


def _in_object(rng: Random, holder: dict[str, Any], key: str, known: list[Place]) -> None:
    roll = rng.random()
    if roll < 0.14:
        del holder[key]
    elif roll < 0.22:
        holder[_respelled(rng, key)] = holder.pop(key)
    elif roll < 0.30:
        other = rng.choice(list(holder))
        holder[key], holder[other] = holder[other], holder[key]
    elif roll < 0.34:
        holder[_respelled(rng, key)] = holder[key]
    elif roll < 0.40:
        # Two of one key: which of them a reader believes is chance.
        holder[key] = Raw(
            f"{write(holder[key])},{json.dumps(key)}:{write(_value(rng, holder[key], known))}"
        )
    elif roll < 0.44:
        holder[rng.choice(_STRAY_KEYS)] = odd(rng)
    else:
        holder[key] = _value(rng, holder[key], known)


_STRAY_KEYS: Final = (
    *("error", "errorMsg", "orderID", "status", "success", "code", "next_cursor", "data", "id"),
    *("not_canceled", "canceled", "has_more", "heartbeat_id", "event_type", "type", "", "__proto__"),
    *("retry_after_seconds", "events", "markets", "raw"),
)  # fmt: skip


def _respelled(rng: Random, key: str) -> str:
    return rng.choice(
        (key.upper(), key.lower(), key.title(), key + " ", " " + key, key[:-1], key + "s", key + "\0",
         key.replace("_", ""), key.replace("e", "е"), "", rng.choice(_STRAY_KEYS))
    )  # fmt: skip


def _in_list(rng: Random, holder: list[Any], at: int, known: list[Place]) -> None:
    roll = rng.random()
    if roll < 0.15:
        del holder[at]
    elif roll < 0.28:
        holder.insert(rng.randrange(len(holder) + 1), holder[at])
    elif roll < 0.36:
        rng.shuffle(holder)
    elif roll < 0.42:
        holder.insert(at, odd(rng))
    elif roll < 0.43:
        holder += [holder[at]] * rng.choice((20, 20, 50, 200))
    else:
        holder[at] = _value(rng, holder[at], known)


def _value(rng: Random, before: Any, known: list[Place]) -> Any:
    roll = rng.random()
    if roll < 0.45:
        return odd(rng)
    if roll < 0.60 and known:
        holder, key = rng.choice(known)
        found = holder.get(key) if isinstance(holder, dict) else None
        # Never the tree itself inside itself.
        return found if not isinstance(found, dict | list) else odd(rng)
    if roll < 0.68:
        return [before]
    if roll < 0.72:
        return {"value": before}
    return _turned(rng, before)


def _turned(rng: Random, before: Any) -> Any:
    """The same thing in another type or spelling."""
    if isinstance(before, bool):
        return rng.choice((not before, int(before), str(before).lower(), str(before)))
    if isinstance(before, int):
        return rng.choice(
            (str(before), -before, before + 1, before * 10**6, before // 10**6, Raw(f"{before}.0"),
             Raw(f"{before}e0"), Raw(f"{before}.0000001"))
        )  # fmt: skip
    if isinstance(before, str) and before and not isinstance(before, Raw):
        return _respelled_text(rng, before)
    return write(before) if isinstance(before, dict | list) else odd(rng)


def _respelled_text(rng: Random, text: str) -> Any:
    at = rng.randrange(len(text))
    changes: tuple[Callable[[], Any], ...] = (
        text.upper,
        text.swapcase,
        lambda: f" {text} ",
        lambda: text[:at],
        lambda: text[at:],
        lambda: text[:at] + rng.choice("0123456789abcdef .-") + text[at + 1 :],
        lambda: text[:at] + rng.choice(ODD_TEXTS) + text[at:],
        lambda: text + rng.choice(("0", "\n", "\0", ".", "000000", "1")),
        lambda: text * 2,
        lambda: Raw(text) if text.replace(".", "", 1).isdecimal() else text[::-1],
    )
    return rng.choice(changes)()


# --- bytes ----------------------------------------------------------------------------------------


def changes_of(rng: Random) -> int:
    """How many places: mostly one or two, sometimes none, seldom many."""
    return rng.choices((0, 1, 2, 3, 8), (8, 50, 26, 12, 4))[0]


def encoded(rng: Random, tree: Any, *, damage: float = 0.15) -> bytes:
    """The tree as bytes, now and then damaged as bytes are."""
    text = write(tree, ascii_only=rng.random() < 0.7)
    data = text.encode("utf-8", "surrogatepass")
    return damaged(rng, data) if rng.random() < damage else data


def damaged(rng: Random, data: bytes) -> bytes:  # noqa: C901 - a list of damages
    """Cut, flipped, prefixed, doubled, in another encoding, or something else altogether."""
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(16)
    if kind < 4:
        return data[:at]
    if kind == 4:
        return data[at:]
    if kind == 5:
        return data[:at] + rng.randbytes(rng.randrange(1, 4)) + data[at + 1 :]
    if kind == 6:
        bad = rng.choice(
            (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\0")
        )
        return data[:at] + bad + data[at:]
    if kind == 7:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b" \n\t", b"\0")) + data
    if kind == 8:
        return data + rng.choice(
            (data, b",", b"}", b"]", b"\n" + data, b" trailing", b"\0", b"   ")
        )
    if kind == 9:
        return data.decode("utf-8", "replace").encode(
            rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7")), "replace"
        )
    if kind == 10:
        return gzip.compress(data[:2_000], 1, mtime=0)
    if kind == 11:
        return rng.choice(
            (
                b"",
                b"null",
                b"[]",
                b"{}",
                b"0",
                b'""',
                b"true",
                b"ok",
                b"<html><body>403</body></html>",
            )
        )
    if kind == 12:
        return data.replace(b'"', b"'", rng.randrange(1, 4))
    if kind == 13:
        return data.replace(b":", b" : ").replace(b",", b" ,\n")
    if kind == 14:
        return rng.randbytes(rng.randrange(0, 64))
    return data[:at] + data[at : at + 20] * rng.choice((2, 50, 3_000)) + data[at:]
