"""What the venue says it paid for resting orders: rewards of the asker, rebates of anybody, by day."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from app.money import format_micros
from app.venue.simulator.accounts import spelled
from app.venue.simulator.cursors import page
from app.venue.simulator.messages import Request, Response, answer, number, refuse
from app.venue.simulator.private_reads import Asked

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def user_rewards(venue: Venue, asked: Asked) -> Response:
    """GET /rewards/user: one row for each market, amounts as numbers."""
    day = asked.request.query.get("date", "")
    if not _DAY.fullmatch(day):
        return refuse(400, "Invalid date")
    rows = [
        _shown(one)
        | {"date": f"{day}T00:00:00Z", "earnings": number(one["micros"]), "asset_rate": 1}
        for one in venue.rewards
        if (one["kind"], one["address"], one["day"]) == ("liquidity", asked.key.address, day)
    ]
    found = page(rows, asked.request.query.get("next_cursor", ""), venue.settings.page_limit)
    return refuse(400, "Invalid next_cursor") if found is None else answer(found)


def rebates(venue: Venue, request: Request, arg: str) -> Response:
    """GET /rebates/current: a bare list, amounts as text."""
    day, maker = request.query.get("date", ""), request.query.get("maker_address", "")
    if not _DAY.fullmatch(day) or len(maker) != 42:
        return refuse(400, "Invalid payload")
    return answer(
        [
            _shown(one) | {"date": day, "rebated_fees_usdc": format_micros(one["micros"])}
            for one in venue.rewards
            if (one["kind"], one["maker"], one["day"]) == ("rebate", spelled(maker), day)
        ]
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "condition_id": row["condition_id"],
        "asset_address": row["asset"],
        "maker_address": row["maker"],
    }
