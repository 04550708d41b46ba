"""The whole simulated venue as a machine of commands: same commands, same state, same answers.

A command is a JSON object with ``t`` (what) and ``at`` (the venue's time). Before any command is
carried out, everything that was due by then happens first, so it does not matter when anybody
looked at the clock. Nothing in here waits, sends or reads a clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

from app.venue.simulator import control
from app.venue.simulator.accounts import Accounts
from app.venue.simulator.exchange import Exchange
from app.venue.simulator.faults import FaultPlan
from app.venue.simulator.heartbeats import Heartbeats
from app.venue.simulator.journal import Command
from app.venue.simulator.limits import Limits
from app.venue.simulator.messages import Response, answer, refuse
from app.venue.simulator.modes import Mode, Modes
from app.venue.simulator.records import Happening
from app.venue.simulator.settings import Settings
from app.venue.simulator.trading import HANDLERS, Call

_MOST_STEPS: Final = 1_000_000


class Venue:
    """State and its transitions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.at_ms = 0
        self.manual = False
        self.offset_ms = 0
        self.accounts = Accounts(settings.seed)
        self.exchange = Exchange(settings)
        self.limits = Limits()
        self.modes = Modes()
        self.heartbeats = Heartbeats()
        self.faults = FaultPlan(settings.seed)
        self.geoblock: dict[str, Any] = {}
        self.rewards: list[dict[str, Any]] = []
        """What was paid for resting orders: see `control`."""
        self.arrivals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.bodies: defaultdict[str, set[str]] = defaultdict(set)
        """Every text in which an order arrived: more than one, and a sender changed its bytes."""
        self.late: list[tuple[int, int, Command]] = []
        self.unready: dict[str, int] = {}
        """Markets that take no orders, and until when."""
        self.last_charge: dict[str, str] = {}
        self.starts = 0
        self.commands = 0

    def configure(self, changes: dict[str, Any]) -> None:
        self.settings = self.settings.changed(changes)
        self.exchange.settings = self.settings
        self.accounts.seed = self.faults.seed = self.settings.seed

    # --- commands ------------------------------------------------------------------------------

    def apply(self, command: Command) -> Any:
        """Carry out one command. Raises only for what `control` refuses, with nothing changed."""
        self.commands += 1
        self.run_until(int(command.get("at", self.at_ms)))
        return getattr(self, "_do_" + command["t"])(command)

    def drain(self) -> list[Happening]:
        """What has happened since the last time, in order."""
        happened, self.exchange.happenings = self.exchange.happenings, []
        return happened

    def _do_started(self, command: Command) -> None:
        """The process came up. After the first time that is a restart of the venue."""
        self.starts += 1
        self.manual = bool(command.get("manual", self.manual))
        if command["settings"]:
            self.configure(command["settings"])
        if self.starts > 1 and self.settings.post_only_ms:
            self.modes.set(Mode.POST_ONLY, self.at_ms, self.settings.post_only_ms)

    def _do_tick(self, command: Command) -> None:
        """Time passed; `apply` has let happen what was due."""

    def _do_call(self, command: Command) -> Response:
        call = Call(
            command["ep"],
            command["acct"],
            command["key"],
            command["body"],
            self.at_ms,
            command.get("fx", {}),
        )
        self.last_charge = {}
        for name, params in call.effects.items():
            control.happen(self, name, params, call)
        if "delivered_twice" in call.effects:
            HANDLERS[call.endpoint](self, call)
        return HANDLERS[call.endpoint](self, call)

    def _do_late(self, command: Command) -> None:
        """A request is still under way; nobody will hear its answer."""
        self.late.append((self.at_ms + int(command["ms"]), self.commands, command["call"]))

    def _do_key(self, command: Command) -> Response:
        address, nonce = command["address"], command["nonce"]
        if self.accounts.key_for(address, nonce) is not None:
            return refuse(400, "Could not create api key")
        key = self.accounts.create_key(address, nonce)
        body = {"apiKey": key.key_id, "secret": key.secret, "passphrase": key.passphrase}
        return answer(body)

    def _do_drop_key(self, command: Command) -> Response:
        self.accounts.drop_key(command["key"])
        return answer("OK")

    def _do_refresh(self, command: Command) -> Response:
        self.exchange.backing.balances.refresh(command["wallet"], command["asset"])
        return answer({})

    def _do_hits(self, command: Command) -> None:
        self.faults.count(command["hits"])

    def _do_control(self, command: Command) -> Any:
        return control.carry_out(self, command["do"], command["args"])

    # --- time ----------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """When something happens next by itself."""
        dues = (
            self.exchange.due_ms(),
            self.modes.due_ms(),
            self.heartbeats.due_ms(),
            min((due for due, _, _ in self.late), default=None),
            min(self.unready.values(), default=None),
        )
        return min((due for due in dues if due is not None), default=None)

    def run_until(self, at_ms: int) -> None:
        """Let everything happen that is due by then, each at its own time. Time never goes back."""
        for _ in range(_MOST_STEPS):
            due = self.due_ms()
            if due is None or due > at_ms:
                break
            self.at_ms = max(self.at_ms, due)
            self._step()
        self.at_ms = max(self.at_ms, at_ms)

    def _step(self) -> None:
        now = self.at_ms
        self.modes.step(now)
        for condition in [one for one, until in self.unready.items() if until <= now]:
            del self.unready[condition]
            self.exchange.markets[condition].ready = True
        for key_id in self.heartbeats.expired(now):
            self.cancel_for_key(key_id)
        arriving = sorted(one for one in self.late if one[0] <= now)
        self.late = [one for one in self.late if one[0] > now]
        for _, _, command in arriving:
            self._do_call(command)
        self.exchange.step(now)

    def cancel_for_key(self, key_id: str) -> int:
        """All open orders that this key posted are cancelled; how many that were."""
        key = self.accounts.keys.get(key_id)
        if key is None:
            return 0
        own = [r for r in self.exchange.live_orders(key.address) if r.owner == key_id]
        for record in own:
            self.exchange.cancel(key.address, record.order.order_id, self.at_ms)
        return len(own)

    # --- limits --------------------------------------------------------------------------------

    def charge(
        self, account: str, kind: str, cost: int, now_ms: int, *, after: bool = False
    ) -> bool:
        """Whether the signer's bucket bears the cost; the headers stay in ``last_charge``."""
        if not self.settings.rate_limits:
            return True
        tier = self.accounts.open(account).tier
        charged = self.limits.charge(account, kind, tier, cost, now_ms, after=after)
        self.last_charge = charged.headers()
        return charged.taken
