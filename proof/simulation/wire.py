"""A session of Postgres without an event loop: one request, one answer, blocking, over a Unix socket.

The simulator owns the only event loop, and in it a call of the database is one step. So it needs a driver that does not
wait in any loop: the extended protocol, all values as text, statements prepared once. Three statements travel in one
packet where a savepoint goes round the one that matters.
"""

from __future__ import annotations

import json
import socket
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import asyncpg

Row: TypeAlias = dict[str, Any]

_PROTOCOL: Final = 196_608
_SYNC: Final = b"S\x00\x00\x00\x04"
_HEAD: Final = struct.Struct("!ci")


def _timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text + ":00" if text[-3] in "+-" else text)


def _array(of: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def parse(text: str) -> list[Any]:
        return [None if one is None else of(one) for one in _elements(text)]

    return parse


def _elements(text: str) -> list[str | None]:
    """The elements of a one-dimensional array's text."""
    found: list[str | None] = []
    place, end = 1, len(text) - 1
    while place < end:
        if text[place] == '"':
            piece = []
            place += 1
            while text[place] != '"':
                place += text[place] == "\\"
                piece.append(text[place])
                place += 1
            found.append("".join(piece))
            place += 2
        else:
            stop = text.find(",", place)
            stop = end if stop < 0 else stop
            word = text[place:stop]
            found.append(None if word == "NULL" else word)
            place = stop + 1
    return found


def _text(text: str) -> str:
    return text


_READ: Final[Mapping[int, Callable[[str], Any]]] = {
    16: lambda text: text == "t",
    17: lambda text: bytes.fromhex(text[2:]),
    20: int,
    21: int,
    23: int,
    26: int,
    700: float,
    701: float,
    1184: _timestamp,
    1700: Decimal,
    2278: lambda _text: None,
    2950: uuid.UUID,
    1005: _array(int),
    1007: _array(int),
    1016: _array(int),
    1009: _array(_text),
    1015: _array(_text),
    2951: _array(uuid.UUID),
}


def _as_text(value: Any) -> bytes | None:
    if value is None:
        return None
    if value is True or value is False:
        return b"t" if value else b"f"
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    if isinstance(value, (list, tuple)):
        return ("{" + ",".join(map(_element, value)) + "}").encode()
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = (_as_text(value) or b"").decode()
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class _Prepared:
    name: bytes
    columns: tuple[str, ...]
    readers: tuple[Callable[[str], Any], ...]


class Session:
    """One connection. Raises `asyncpg.PostgresError` for what the server refuses."""

    def __init__(self, folder: str, port: int, database: str, user: str) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.connect(f"{folder}/.s.PGSQL.{port}")
        self._buffer = bytearray()
        self._prepared: dict[str, _Prepared] = {}
        fields = ("user", user, "database", database, "application_name", "ledger simulator")
        body = b"".join(one.encode() + b"\0" for one in fields) + b"\0"
        self._line.sendall(struct.pack("!ii", len(body) + 8, _PROTOCOL) + body)
        self._answers()

    def close(self) -> None:
        self._line.sendall(b"X\x00\x00\x00\x04")
        self._line.close()

    def run(self, script: str) -> None:
        """Statements without arguments or rows, separated by semicolons, in one go."""
        self._line.sendall(_message(b"Q", script.encode() + b"\0"))
        self._answers()

    def fetch(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Rows of one statement."""
        prepared = self._prepare(statement)
        self._line.sendall(_call(prepared, arguments) + _SYNC)
        return _rows(prepared, self._answers())

    def fetch_within(
        self,
        statement: str,
        arguments: Sequence[Any],
        first: tuple[str, Sequence[Any]] | None = None,
    ) -> list[Row]:
        """Rows of one statement inside the open transaction; if it fails, only it is taken back. ``first``: another
        one before it in the same packet, whose one row nobody reads.
        """
        before, after = self._prepare("SAVEPOINT one"), self._prepare("RELEASE SAVEPOINT one")
        prepared = self._prepared.get(statement) or self._prepare_within(statement)
        packet = _call(before, ()) + _call(prepared, arguments) + _call(after, ()) + _SYNC
        if first is not None:
            packet = _call(self._prepare(first[0]), first[1]) + packet
        self._line.sendall(packet)
        try:
            return _rows(prepared, self._answers()[first is not None :])
        except asyncpg.PostgresError:
            self.run("ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one")
            raise

    def _prepare_within(self, statement: str) -> _Prepared:
        self.run("SAVEPOINT one")
        try:
            return self._prepare(statement)
        except asyncpg.PostgresError:
            self.run("ROLLBACK TO SAVEPOINT one")
            raise
        finally:
            self.run("RELEASE SAVEPOINT one")

    def _prepare(self, statement: str) -> _Prepared:
        known = self._prepared.get(statement)
        if known is not None:
            return known
        name = b"s%d" % len(self._prepared)
        self._line.sendall(
            _message(b"P", name + b"\0" + statement.encode() + b"\0\0\0")
            + _message(b"D", b"S" + name + b"\0")
            + _SYNC
        )
        shape: tuple[tuple[str, int], ...] = ()
        for kind, body in self._answers():
            if kind == b"T":
                shape = _shape(body)
        made = _Prepared(
            name, tuple(one for one, _ in shape), tuple(_READ.get(oid, _text) for _, oid in shape)
        )
        self._prepared[statement] = made
        return made

    def _answers(self) -> list[tuple[bytes, bytes]]:
        """Everything up to the end of the answer."""
        found: list[tuple[bytes, bytes]] = []
        error: bytes | None = None
        while True:
            kind, body = self._message()
            if kind == b"Z":
                break
            if kind == b"E":
                error = body
            elif kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
                raise ConnectionError(
                    "the server asks for a password: only a server by peer will do"
                )
            elif kind in (b"D", b"T"):
                found.append((kind, body))
        if error is not None:
            raise _refused(error)
        return found

    def _message(self) -> tuple[bytes, bytes]:
        buffer = self._buffer
        while len(buffer) < 5:
            self._more()
        kind, size = _HEAD.unpack_from(buffer)
        while len(buffer) < size + 1:
            self._more()
        body = bytes(buffer[5 : size + 1])
        del buffer[: size + 1]
        return kind, body

    def _more(self) -> None:
        piece = self._line.recv(65_536)
        if not piece:
            raise ConnectionError("the server closed the simulator's connection")
        self._buffer += piece


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _call(prepared: _Prepared, arguments: Sequence[Any]) -> bytes:
    parts = [b"\0", prepared.name, b"\0\0\0", struct.pack("!h", len(arguments))]
    for value in arguments:
        text = _as_text(value)
        parts.append(b"\xff\xff\xff\xff" if text is None else struct.pack("!i", len(text)) + text)
    parts.append(b"\0\0")
    return _message(b"B", b"".join(parts)) + b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"


def _shape(body: bytes) -> tuple[tuple[str, int], ...]:
    (count,) = struct.unpack_from("!h", body)
    place, found = 2, []
    for _ in range(count):
        end = body.index(b"\0", place)
        (oid,) = struct.unpack_from("!i", body, end + 7)
        found.append((body[place:end].decode(), oid))
        place = end + 19
    return tuple(found)


def _rows(prepared: _Prepared, answers: Sequence[tuple[bytes, bytes]]) -> list[Row]:
    return [_row(prepared, body) for kind, body in answers if kind == b"D"]


def _row(prepared: _Prepared, body: bytes) -> Row:
    place = 2
    row: Row = {}
    for name, read in zip(prepared.columns, prepared.readers, strict=True):
        (size,) = struct.unpack_from("!i", body, place)
        place += 4
        if size < 0:
            row[name] = None
            continue
        row[name] = read(body[place : place + size].decode())
        place += size
    return row


def _refused(body: bytes) -> asyncpg.PostgresError:
    fields = {chr(one[0]): one[1:].decode(errors="replace") for one in body.split(b"\0") if one}
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(fields)
    return error


def as_json(value: Any) -> str:
    """JSON as it travels."""
    return json.dumps(value, separators=(",", ":"))
