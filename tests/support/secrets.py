"""Keys that a test recognises wherever they turn up, and settings that read nothing of this machine."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.config import Settings
from app.secrets.types import secrets_of

KEY = "0x" + "c0ffee" * 10 + "5eed"
OTHER_KEY = "0x" + "ab" * 32


def api(name: str) -> dict[str, str]:
    """The three parts of an API key, each recognisable."""
    secret = base64.urlsafe_b64encode(f"secret of {name} \xff".encode()).decode()
    return {"api_key": name, "api_secret": secret, "api_passphrase": f"passphrase-of-{name}"}


DOCUMENT = {"private_key": KEY, **api("first")}
ADDRESS = secrets_of(DOCUMENT, "here").signer.address


def leaks(text: str) -> bool:
    words = [KEY[2:], OTHER_KEY[2:], "passphrase-of-", "a-vault-token", "a-secret-id"]
    words += [api(name)["api_secret"] for name in ("first", "second", "third")]
    return any(word in text for word in words)


def whole_story(error: BaseException, own: str) -> str:
    """Everything that a crash reporter could find: text, chain, frames with their locals.

    ``own`` is the test's file: its frames hold the secrets on purpose.
    """
    story = traceback.TracebackException.from_exception(error, capture_locals=True)
    name = Path(own).name
    for part in _chain(story):
        part.stack[:] = [frame for frame in part.stack if name not in frame.filename]
    return "".join(story.format())


def _chain(story: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while story is not None:
        yield story
        story = story.__cause__ or story.__context__


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)
