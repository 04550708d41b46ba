"""A child process for a moment: runs something, says how it went in one line, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

PATIENCE_S: Final = 20.0
"""How long the parent waits beyond what the child was given."""

Answer = dict[str, Any]


def in_child(work: Callable[[], Answer], within_s: float) -> Answer:
    """What ``work`` answered in a process of its own. Whatever the child started is ended with it.

    ``{"verdict": "stuck"}`` if it did not answer in time, ``{"verdict": "died"}`` if it ended without an answer.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(work, writer)
    os.close(writer)
    try:
        return _answer(reader, within_s + PATIENCE_S)
    finally:
        os.close(reader)
        _end(pid)


def tell(writer: int, answer: Answer) -> NoReturn:
    """Say it, and end at once: no fixture of a stuck test is waited for."""
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def _be_child(work: Callable[[], Answer], writer: int) -> NoReturn:
    os.setsid()
    _end_with_parent()
    try:
        WRITER.append(writer)
        tell(writer, work())
    except BaseException as error:  # noqa: BLE001 - the parent must hear of it, and nothing may return from a fork
        tell(writer, {"verdict": "broken", "how": f"{type(error).__name__}: {error}"[:400]})


def _end_with_parent() -> None:
    """Where the kernel can: a run that is cut off leaves no child behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG: Final = 1
WRITER: Final[list[int]] = []
"""Of the child: where it answers."""


def _answer(reader: int, within_s: float) -> Answer:
    until = time.monotonic() + within_s
    said = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return {"verdict": "stuck"}
        piece = os.read(reader, 65536)
        said += piece
        if not piece:
            return json.loads(said) if said else {"verdict": "died"}
        with contextlib.suppress(ValueError):
            answer: Answer = json.loads(said)
            return answer


def _end(pid: int) -> None:
    """The child made a group of its own: all that is still in it was started by it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
