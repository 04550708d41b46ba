"""Who gives an order to the ledger: recorded beside the database login, which many may share."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

Operator = Annotated[
    str | None, typer.Option("--operator", help="Who decides. Default: the user of this shell.")
]


def operator_name(given: str | None) -> str:
    """The name to record."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a user id without a name, as in some containers
