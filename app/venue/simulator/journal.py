"""The simulator's store: a file of commands, each durable before anybody hears of its effect.

The venue's state is a pure function of the commands, so the journal is the whole database: a
killed process is replayed into exactly the state it had answered from. Rows in SQLite would have
done as well; this is one write and one fsync per batch of requests instead of a dozen page writes
each, nothing can disagree with the core (there is no second form of the state), and the file is
also the script that reproduces a run. Its price is a replay at start: 3,000 orders take
about a second.

One line per command: CRC-32 of the text in eight hex digits, a blank, the JSON. A last line that
is torn was never answered and is cut off; a broken line before it is damage and stops the start.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import Any

from app.clock import Ports
from app.errors import BadInput, Code

Command = dict[str, Any]


class Journal:
    """Appends commands; ``flushed`` returns once all that were appended before are on disk."""

    def __init__(self, path: Path, ports: Ports) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._ports = ports
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._buffer: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self.appended = 0
        """How many commands were appended, and how many of those are on disk."""
        self.durable = 0
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise BadInput(
                Code.BAD_SETTING,
                f"another simulator has {path} open",
                not_done="the simulator was not started",
                next_step="stop it, or give another --data folder",
            ) from error

    def read(self) -> list[Command]:
        """Every command so far, oldest first. Cuts off a torn end."""
        data = self._path.read_bytes()
        commands: list[Command] = []
        good = 0
        for line in data.splitlines(keepends=True):
            command = _parse(line)
            if command is None:
                break
            commands.append(command)
            good += len(line)
        if good < len(data):
            self._cut(data[good:], good)
        return commands

    def _cut(self, rest: bytes, good: int) -> None:
        if any(_parse(line) is not None for line in rest.splitlines(keepends=True)[1:]):
            raise BadInput(
                Code.BAD_FILE,
                f"{self._path} is damaged at byte {good}: good lines stand behind a broken one",
                not_done="the simulator was not started",
                next_step="give another --data folder",
            )
        os.ftruncate(self._file, good)
        os.fsync(self._file)

    def append(self, command: Command) -> None:
        """Remember a command in order. Not yet durable."""
        text = json.dumps(command, separators=(",", ":"), ensure_ascii=False).encode()
        self.appended += 1
        self._buffer.append(b"%08x %s\n" % (zlib.crc32(text), text))

    async def flushed(self) -> None:
        """Wait until what was appended is on disk; everybody who waits shares one fsync."""
        if self.durable == self.appended:
            return
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            self._ports.tasks.spawn(self._flush(self._waiting), name="simulator journal")
        await asyncio.shield(self._waiting)

    async def _flush(self, waiting: asyncio.Future[None]) -> None:
        # whoever else is ready in this turn of the loop joins
        await self._ports.clock.sleep(0)
        self._waiting = None
        try:
            self.write()
        except OSError as error:
            waiting.set_exception(error)
        else:
            waiting.set_result(None)

    def write(self) -> None:
        """Put the buffer on disk now."""
        if not self._buffer:
            return
        data = b"".join(self._buffer)
        self._buffer.clear()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        self.durable = self.appended

    def close(self) -> None:
        self.write()
        os.close(self._file)


def _parse(line: bytes) -> Command | None:
    if not line.endswith(b"\n") or len(line) < 10:
        return None
    text = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(text):
        return None
    command: Command = json.loads(text)
    return command
