"""Lets one signed copy of a transfer leave per attempt, whatever the official client does behind it.

``execute_transaction`` repeats by itself: after 429, and after a 400 that speaks of a busy wallet or of a
nonce, it fetches another nonce, signs anew and posts again, up to ten times. Each of these copies is a
transfer of its own, and the error that comes out in the end speaks of the last one alone. No public option
turns that off. So a gate stands on the relayer's connection, where it is asked before a byte leaves. The
way to that connection is not public either: where it is not found, nothing may be sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

READING: Final = frozenset({"GET", "HEAD"})


class NoGate(Exception):
    """The client is not built as it was when this was written."""


class SecondCopy(Exception):
    """The client was about to post once more. Nothing of that copy has left."""


class OneCopy:
    """The gate of one client. Closed but for an attempt, and then open for one request that is no read."""

    def __init__(self, client: Any) -> None:
        try:
            connection = client._ctx.relayer._client
            hooks = connection.event_hooks
            connection.event_hooks = {
                "request": [*hooks["request"], self._leaves],
                "response": [*hooks["response"], self._answered],
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise NoGate(f"{type(error).__name__}: {error}") from None
        self.taken = False
        """An attempt is under way."""
        self.reads = 0
        self.copies = 0
        self.status: int | None = None
        """What the copy of the last attempt was answered."""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Open it. What it counts is of this attempt until the next."""
        self.taken, self.reads, self.copies, self.status = True, 0, 0, None
        try:
            yield
        finally:
            self.taken = False

    async def _leaves(self, request: Any) -> None:
        """Before a byte of it does."""
        if request.method in READING:
            self.reads += 1
            return
        if not self.taken or self.copies:
            raise SecondCopy("the client would post a second copy")
        self.copies += 1

    async def _answered(self, response: Any) -> None:
        if response.request.method not in READING:
            self.status = response.status_code
