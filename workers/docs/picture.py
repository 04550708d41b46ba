"""``docs/order-life.svg``: an order's life in one picture. Every arrow is a row of the transition table.

Drawn here and not by a layout program, so that the reading order is the order's way. A test holds
each arrow against ``ledger.transition``.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 1040
HEIGHT: Final = 520
BOX: Final = (124, 40)


@dataclass(frozen=True, slots=True)
class Box:
    """A state. ``kind`` is unsent (known not to be at the venue), maybe (a copy may be there) or ended."""

    state: str
    x: int
    y: int
    kind: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """One change of state, with its way as points, and its words at a point."""

    source: str
    event: str
    target: str
    way: tuple[tuple[int, int], ...]
    words: str
    at: tuple[int, int]
    anchor: str = "middle"
    rare: bool = False


BOXES: Final = (
    Box("RESERVED", 24, 150, "unsent"),
    Box("PREPARED", 236, 150, "unsent"),
    Box("SENDING", 448, 150, "maybe"),
    Box("HELD_BACK", 342, 290, "unsent"),
    Box("UNKNOWN", 580, 290, "maybe"),
    Box("DELAYED", 580, 44, "maybe"),
    Box("LIVE", 700, 150, "maybe"),
    Box("REJECTED", 342, 44, "ended"),
    Box("FILLED", 892, 72, "ended"),
    Box("CANCELLED", 892, 150, "ended"),
    Box("EXPIRED", 892, 228, "ended"),
    Box("NOT_PLACED", 342, 410, "ended"),
)

ARROWS: Final = (
    Arrow(
        "RESERVED",
        "PREPARE",
        "PREPARED",
        ((148, 170), (236, 170)),
        "bytes and id\nstored",
        (192, 146),
    ),
    Arrow("PREPARED", "OPEN", "SENDING", ((360, 170), (448, 170)), "attempt\nopened", (404, 146)),
    Arrow("SENDING", "ACCEPT", "LIVE", ((572, 170), (700, 170)), "accepted", (636, 163)),
    Arrow(
        "SENDING",
        "REJECT",
        "REJECTED",
        ((478, 150), (478, 64), (466, 64)),
        "refused for good",
        (472, 116),
        "end",
    ),
    Arrow(
        "SENDING",
        "DELAY",
        "DELAYED",
        ((542, 150), (542, 64), (580, 64)),
        "accepted,\ndelayed",
        (550, 116),
        "start",
    ),
    Arrow(
        "DELAYED",
        "SEE",
        "LIVE",
        ((704, 64), (740, 64), (740, 150)),
        "in the book",
        (748, 116),
        "start",
    ),
    Arrow(
        "SENDING",
        "HOLD_BACK",
        "HELD_BACK",
        ((468, 190), (440, 290)),
        "known not\nplaced",
        (444, 234),
        "end",
    ),
    Arrow(
        "HELD_BACK",
        "OPEN",
        "SENDING",
        ((459, 290), (487, 190)),
        "same bytes\nagain",
        (482, 252),
        "start",
    ),
    Arrow(
        "SENDING",
        "LOSE",
        "UNKNOWN",
        ((552, 190), (600, 290)),
        "no definite\nanswer",
        (588, 222),
        "start",
    ),
    Arrow("UNKNOWN", "OPEN", "SENDING", ((580, 296), (531, 190)), "", (0, 0)),
    Arrow(
        "UNKNOWN",
        "SEE",
        "LIVE",
        ((672, 290), (742, 190)),
        "found at\nthe venue",
        (716, 254),
        "start",
    ),
    Arrow(
        "LIVE",
        "FILL_ALL",
        "FILLED",
        ((824, 160), (858, 160), (858, 92), (892, 92)),
        "filled by its trades",
        (954, 62),
    ),
    Arrow("LIVE", "END_CANCELLED", "CANCELLED", ((824, 170), (892, 170)), "", (0, 0)),
    Arrow(
        "LIVE",
        "END_EXPIRED",
        "EXPIRED",
        ((824, 180), (858, 180), (858, 248), (892, 248)),
        "both: proven by a\nread of the order",
        (954, 288),
    ),
    Arrow(
        "RESERVED",
        "WITHDRAW",
        "NOT_PLACED",
        ((86, 190), (86, 438), (342, 438)),
        "not wanted any more,\nand not at the venue",
        (100, 396),
        "start",
    ),
    Arrow("PREPARED", "WITHDRAW", "NOT_PLACED", ((298, 190), (298, 422), (342, 422)), "", (0, 0)),
    Arrow("HELD_BACK", "WITHDRAW", "NOT_PLACED", ((404, 330), (404, 410)), "", (0, 0)),
    Arrow(
        "UNKNOWN",
        "ABSENT",
        "NOT_PLACED",
        ((632, 330), (632, 422), (466, 422)),
        "absence proven",
        (550, 415),
    ),
    Arrow(
        "NOT_PLACED",
        "SEE",
        "LIVE",
        ((466, 438), (780, 438), (780, 190)),
        "seen after all: counted again, and cancelled",
        (624, 456),
        "middle",
        True,
    ),
)

_STYLE: Final = """
  .card { fill: #ffffff; stroke: #d0d7de; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .name { font-weight: 600; font-size: 13.5px; text-anchor: middle; }
  .small { font-size: 11.5px; fill: #59636e; }
  .unsent { fill: #ddf4ff; stroke: #0969da; }
  .maybe { fill: #fff1c9; stroke: #9a6700; }
  .ended { fill: #eef1f4; stroke: #6e7781; }
  .box { stroke-width: 1.5; }
  .way { fill: none; stroke: #59636e; stroke-width: 1.4; }
  .rare { stroke-dasharray: 5 4; }
  .tip { fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d; }
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .unsent { fill: #0c2d4d; stroke: #4493f8; }
    .maybe { fill: #3d2e00; stroke: #d29922; }
    .ended { fill: #21262d; stroke: #8b949e; }
    .way { stroke: #9198a1; }
    .tip { fill: #9198a1; }
  }
"""

_LEGEND: Final = (
    ("unsent", 24, "not at the venue: counted; a cancel ends it at once"),
    ("maybe", 378, "a copy may be at the venue: counted until there is proof"),
    ("ended", 756, "ended: only facts may still come"),
)


def draw() -> str:
    """The picture as SVG, for light and dark surroundings."""
    title = "An order's life: from a reservation to a proven end"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title">'
        f'<title id="title">{escape(title)}</title>'
        f"<style>{_STYLE}</style>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    parts = [
        head,
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        *(_arrow(one) for one in ARROWS),
        *(_box(one) for one in BOXES),
        *(_legend(*one) for one in _LEGEND),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _box(box: Box) -> str:
    width, height = BOX
    return (
        f'<rect class="box {box.kind}" x="{box.x}" y="{box.y}" width="{width}" height="{height}" rx="6"/>'
        f'<text class="name" x="{box.x + width // 2}" y="{box.y + 25}">{box.state}</text>'
    )


def _arrow(arrow: Arrow) -> str:
    way = "M" + "L".join(f"{x} {y}" for x, y in arrow.way)
    kind = "way rare" if arrow.rare else "way"
    drawn = f'<path class="{kind}" d="{way}" marker-end="url(#tip)"/>'
    return drawn + _words(arrow.words, arrow.at, arrow.anchor)


def _words(words: str, at: tuple[int, int], anchor: str) -> str:
    lines = words.split("\n") if words else []
    return "".join(
        f'<text class="small" text-anchor="{anchor}" x="{at[0]}" y="{at[1] + 14 * number}">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    )


def _legend(kind: str, x: int, words: str) -> str:
    y = HEIGHT - 34
    return (
        f'<rect class="box {kind}" x="{x}" y="{y}" width="18" height="14" rx="3"/>'
        f'<text class="small" x="{x + 26}" y="{y + 11}">{escape(words)}</text>'
    )
