"""What the venue as a whole will do for anybody at this moment (docs/venue.md 9.2, 3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.venue.simulator.messages import Response, refuse


class Mode(StrEnum):
    NORMAL = "normal"
    RESTARTING = "restarting"
    POST_ONLY = "post_only"
    CANCEL_ONLY = "cancel_only"
    DISABLED = "disabled"


POST_ONLY_TEXT: Final = "post-only mode: only post-only orders and cancels are allowed"


@dataclass(slots=True)
class Modes:
    """The mode of the moment and when it ends by itself; a restart ends in post-only."""

    mode: Mode = Mode.NORMAL
    until_ms: int = 0
    """0: until somebody ends it."""
    post_only_ms: int = 0

    def set(self, mode: Mode, now_ms: int, for_ms: int = 0, post_only_ms: int = 0) -> None:
        self.mode = mode
        self.until_ms = now_ms + for_ms if for_ms else 0
        self.post_only_ms = post_only_ms

    def due_ms(self) -> int | None:
        return self.until_ms or None

    def step(self, now_ms: int) -> None:
        if not self.until_ms or now_ms < self.until_ms:
            return
        if self.mode is Mode.RESTARTING and self.post_only_ms:
            self.set(Mode.POST_ONLY, self.until_ms, self.post_only_ms)
        else:
            self.set(Mode.NORMAL, now_ms)

    def left_s(self, now_ms: int) -> int:
        return max(1, -(-(self.until_ms - now_ms) // 1000)) if self.until_ms else 1

    def refuses(self, *, placing: bool, post_only: bool, now_ms: int) -> Response | None:
        """The answer to a trading request that is not let through.

        ``post_only``: everything that it wants to place is. A batch passes in post-only mode; its
        items are refused one by one.
        """
        if self.mode is Mode.RESTARTING:
            return refuse(425, "the matching engine is restarting", retry_after_s=1)
        if self.mode is Mode.DISABLED:
            return refuse(503, "Trading is currently disabled. Please try again later.")
        if not placing or self.mode is Mode.NORMAL:
            return None
        if self.mode is Mode.CANCEL_ONLY:
            text = (
                "Trading is currently cancel-only. "
                "New orders are not accepted, but cancels are allowed."
            )
            return refuse(503, text)
        if post_only:
            return None
        left = self.left_s(now_ms)
        return refuse(503, POST_ONLY_TEXT, code="post_only_mode", retry_after_s=left)
