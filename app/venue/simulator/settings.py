"""How one simulated venue behaves. Part of its state: recorded in the journal, replayed with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from app.errors import BadInput, Code
from app.venue.matching import Rules
from app.venue.polymarket.domain import POLYGON

ORDER_VERSION: Final = 2
"""The version of orders that is read here."""

NEVER_MS: Final = 1 << 50
"""Later than anything."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All times in milliseconds unless the name says otherwise."""

    seed: int = 1
    chain_id: int = POLYGON
    mine_after_ms: int = 2_000
    confirm_after_ms: int = 2_000
    fail_ppm: int = 0
    retry_ppm: int = 0
    tape_every_ms: int = 0
    """The outside world moves by itself this often while an account's order rests; 0: never."""
    gtd_lead_ms: int = 60_000
    page_limit: int = 500
    rate_limits: bool = True
    post_only_ms: int = 120_000
    """How long only post-only orders are taken after a restart, the process's own too."""
    heartbeat_ms: int = 10_000
    auth_skew_s: int = 300
    """How far a header's timestamp may be from this machine's clock; 0: not looked at."""
    balances: bool = True
    """Whether orders need backing."""
    goaway_after: int = 10_000
    """Requests of one HTTP/2 connection after which the edge closes it; 0: never."""
    order_version: int = ORDER_VERSION
    """Any other than the one that is read here: every order is refused, as after a cut-over."""
    trade_prefix: bool = True
    """REST says TRADE_STATUS_MINED, the stream MINED (docs/venue.md 5.2)."""

    @property
    def rules(self) -> Rules:
        """As the matching core wants them."""
        return Rules(
            gtd_lead_ms=self.gtd_lead_ms,
            mine_after_ms=self.mine_after_ms,
            confirm_after_ms=self.confirm_after_ms,
            fail_ppm=self.fail_ppm,
            retry_ppm=self.retry_ppm,
            tape_every_ms=self.tape_every_ms or NEVER_MS,
        )

    def changed(self, changes: dict[str, Any]) -> Settings:
        """With some of them set; a name that does not exist or a wrong type is refused."""
        kinds = {one.name: type(getattr(self, one.name)) for one in fields(self)}
        for name, value in changes.items():
            if type(value) is not kinds.get(name):
                raise BadInput(
                    Code.BAD_SETTING,
                    f"the simulator has no setting {name!r} of that type",
                    not_done="nothing was changed",
                    next_step=f"settings are {', '.join(kinds)}",
                )
            if kinds[name] is int and value < 0:
                raise BadInput(Code.BAD_SETTING, f"{name} is below zero")
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
