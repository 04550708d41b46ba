"""What a backend hands over: a JSON object of texts. Read so that no error can carry its contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from app.errors import BadInput, Code
from app.secrets.types import API_FIELDS, credentials_of
from app.venue.polymarket.auth import ApiCredentials

T = TypeVar("T")


def framed(read: Callable[[], T]) -> T:
    """``read()``, whose errors come out without the frames they went through.

    Those frames hold the document, and a crash reporter prints frames with their locals.
    """
    try:
        return read()
    except BadInput as error:
        told = BadInput(error.code, error.wrong, not_done=error.not_done, next_step=error.next_step)
    raise told


def document_of(text: str, where: str) -> dict[str, str]:
    """The object in a JSON text. ``BAD_SETTING`` for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        # json's own error keeps the whole document in an attribute: it must not be chained.
        value = None
    return fields_of(value, where)


def fields_of(value: Any, where: str) -> dict[str, str]:
    """An object's fields that are texts."""
    if not isinstance(value, dict):
        raise BadInput(
            Code.BAD_SETTING,
            f"{where}: the secret is not a JSON object",
            not_done="no key was read",
            next_step="store private_key, api_key, api_secret and api_passphrase as one object",
        )
    return {name: one for name, one in value.items() if isinstance(one, str)}


def previous_of(document: dict[str, str], current_key: str, where: str) -> ApiCredentials | None:
    """The API key of an older version, if it holds a whole one and another than the current."""
    if not all(document.get(name) for name in API_FIELDS):
        return None
    if document["api_key"] == current_key:
        return None
    return credentials_of(document, where)


def refused(where: str, wrong: str, next_step: str) -> BadInput:
    """A backend that did not hand the secret over."""
    return BadInput(
        Code.BAD_SETTING, f"{where}: {wrong}", not_done="no key was read", next_step=next_step
    )
