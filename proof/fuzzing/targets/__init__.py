"""Every door through which something from outside comes in. A module here has ``TARGETS``; this page joins them."""

from __future__ import annotations

from typing import Final

from proof.fuzzing.model import Target
from proof.fuzzing.targets import (
    cancelling,
    command_line,
    frames,
    functions,
    headers,
    markets,
    placing,
    reading,
    settings,
    through_venue,
    wire,
)

_PARTS = (
    placing, cancelling, reading, headers, frames, markets, settings, through_venue, wire, command_line, functions,
)  # fmt: skip

ALL: Final[dict[str, Target]] = {one.name: one for part in _PARTS for one in part.TARGETS}
