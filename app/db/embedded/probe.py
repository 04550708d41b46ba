"""Asks the server itself whether it lives.

A pid file says what was once true; after a crash the pid may belong to anybody. So liveness is a
connection: the first messages of the wire protocol over the Unix socket, synchronous and without a
driver, because alembic and the command line ask before there is an event loop.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

_PROTOCOL_3_0: Final = 196608
ANSWER_S = 5.0
_STATEMENT_S: Final = 60.0
_MAX_MESSAGE: Final = 1 << 16


class Liveness(Enum):
    UP = "up"
    STARTING = "starting"
    """It answers, but takes no sessions yet: starting, recovering, or on its way down."""
    MUTE = "mute"
    """It accepts the connection, which the system does for it, and says nothing: paused, or far too busy."""
    NO_DATABASE = "no database"
    FORBIDDEN = "forbidden"
    SILENT = "silent"
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Answer:
    state: Liveness
    detail: str = ""
    server_version: str = ""


def probe(socket_file: Path, *, user: str, database: str, statement: str = "") -> Answer:
    """One short session as ``user``; never raises for what a server or a missing socket can do.

    With a ``statement`` (whose rows, if any, are not read) it ends ``UP`` where that succeeded,
    else ``FORBIDDEN`` with what the server said.
    """
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line,
            line.makefile("rb") as stream,
        ):
            line.settimeout(ANSWER_S)
            line.connect(str(socket_file))
            line.sendall(_startup(user, database))
            answer = _read_answer(stream)
            if answer.state is Liveness.UP and statement:
                line.settimeout(_STATEMENT_S)
                body = statement.encode() + b"\0"
                line.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
                answer = _read_answer(stream)
            if answer.state is Liveness.UP:
                line.sendall(b"X\x00\x00\x00\x04")
            return answer
    except TimeoutError:
        return Answer(Liveness.MUTE, "it accepts the connection but does not answer")
    except OSError as error:
        # the backlog of a Unix socket is full, so somebody does listen
        if error.errno == errno.EAGAIN:
            return Answer(Liveness.MUTE, "it is too busy to accept the connection")
        if error.errno in (errno.ECONNRESET, errno.EPIPE):
            return Answer(Liveness.STARTING, "it is too busy to answer")
        if error.errno == errno.EACCES:
            return Answer(Liveness.FORBIDDEN, "its socket is closed to this user")
        return Answer(Liveness.SILENT, error.strerror or str(error))


def _startup(user: str, database: str) -> bytes:
    fields = ("user", user, "database", database, "application_name", "ledger probe")
    body = b"".join(field.encode() + b"\0" for field in fields) + b"\0"
    return struct.pack("!ii", len(body) + 8, _PROTOCOL_3_0) + body


def _read_answer(stream: BinaryIO) -> Answer:
    version = ""
    while True:
        head = stream.read(5)
        if len(head) < 5:
            return Answer(Liveness.STARTING, "it closed the connection")
        kind, size = struct.unpack("!ci", head)
        if not 4 <= size <= _MAX_MESSAGE:
            return Answer(Liveness.FORBIDDEN, "what answers there is not Postgres")
        body = stream.read(size - 4)
        if kind == b"E":
            return _refusal(body)
        if kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
            return Answer(Liveness.FORBIDDEN, "it asks this user for a password")
        if kind == b"S":
            name, value = body.split(b"\0")[:2]
            version = value.decode() if name == b"server_version" else version
        if kind == b"Z":
            return Answer(Liveness.UP, server_version=version)


def _refusal(body: bytes) -> Answer:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    code, message = fields.get(b"C", ""), fields.get(b"M", "")
    if code in ("57P03", "57P01", "57P02"):
        return Answer(Liveness.STARTING, message)
    if code == "3D000":
        return Answer(Liveness.NO_DATABASE, message)
    if code == "53300":
        # all connections taken: alive, and the caller's own attempt will say so
        return Answer(Liveness.UP, message)
    return Answer(Liveness.FORBIDDEN, message)
