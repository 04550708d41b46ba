"""Asks the person at the shell. Nothing is taken for a yes but the word itself."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from workers.cli.output import clean

YES: Final = "yes"
_MOST: Final = 4_096


class Person:
    """Questions on standard error, answers from standard input, line by line."""

    def __init__(self) -> None:
        self._rest = b""

    def agrees(self, question: str) -> bool:
        """Whether ``yes`` was typed. An end of the input is a no. Blocks."""
        self._ask(question)
        while (line := self._line()) is None:
            if not self._more():
                return False
        return line == YES

    async def agrees_meanwhile(self, question: str) -> bool:
        """The same while the tasks of the loop go on: a worker must not lose its claims to a slow reader."""
        self._ask(question)
        while (line := self._line()) is None:
            await self._readable()
            if not self._more():
                return False
        return line == YES

    @staticmethod
    def _ask(question: str) -> None:
        sys.stderr.write(f"{clean(question)}\nType {YES} to go on: ")
        sys.stderr.flush()

    def _line(self) -> str | None:
        line, end, rest = self._rest.partition(b"\n")
        if not end:
            return None
        self._rest = rest
        return line.decode("utf-8", "replace").strip().lower()

    def _more(self) -> bool:
        """Not through ``sys.stdin``: what it has read ahead no selector knows of."""
        found = os.read(0, _MOST)
        self._rest += found
        return bool(found)

    @staticmethod
    async def _readable() -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(0, came.set)
        except PermissionError:
            return  # a plain file: reading it never waits
        try:
            await came.wait()
        finally:
            loop.remove_reader(0)
