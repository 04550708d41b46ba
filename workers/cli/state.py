"""What one invocation was asked for as a whole: ``--json``, ``--debug``, and its settings.

It lives in a context variable, so that tests can run many invocations in one process.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.config import Settings


@dataclass
class State:
    """The switches of one invocation."""

    as_json: bool = False
    debug: bool = False
    interrupt_told: bool = False
    """Whether the command itself has said what stands after Ctrl-C."""
    _settings: Settings | None = field(default=None, repr=False)

    @property
    def settings(self) -> Settings:
        """The settings, read on first use. Raises `BadInput` that names each wrong one."""
        if self._settings is None:
            from app.config import load_settings

            self._settings = load_settings()
        return self._settings


_STATE: ContextVar[State] = ContextVar("ledger_worker_state")


def begin(state: State) -> None:
    """A new invocation begins."""
    _STATE.set(state)


def state() -> State:
    """The invocation that runs."""
    return _STATE.get()


def _switch_json(value: bool) -> bool:
    # set, never cleared: the switch may stand before the command and after it
    if value:
        state().as_json = True
    return value


def _switch_debug(value: bool) -> bool:
    if value:
        state().debug = True
    return value


JSON_HELP = "One JSON value on standard output, errors too."
DEBUG_HELP = "Show the traceback of an unexpected error."

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP, callback=_switch_json)]
"""Every command takes it, so that it works behind the command as well as before it."""

Debug = Annotated[bool, typer.Option("--debug", help=DEBUG_HELP, callback=_switch_debug)]
