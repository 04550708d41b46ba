"""Writes keys to a file that only its owner can read: the one way in which a key leaves the program."""

from __future__ import annotations

import os
from collections.abc import Mapping

from app.errors import BadInput, Code


def write_new(path: str, values: Mapping[str, str]) -> None:
    """``NAME=value`` lines in a new file of mode 0600, as ``.env`` takes them.

    Raises ``BAD_FILE`` if the file exists (nothing is overwritten: it may hold the only copy of a key)
    or cannot be made, and ``BAD_REQUEST`` for a value that would not be read back as it is.
    """
    if any(set(value) & set("\n\r\"'\\$#` ") for value in values.values()):
        raise BadInput(
            Code.BAD_REQUEST,
            "a value holds a character that an environment file would read otherwise",
            not_done="no file was written",
            next_step="store it in Vault or AWS Secrets Manager instead",
        )
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInput(
            Code.BAD_FILE,
            f"{path} cannot be made: {error.strerror}",
            not_done="no file was written",
            next_step="name a file that does not exist, in a folder that is yours",
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(handle)
