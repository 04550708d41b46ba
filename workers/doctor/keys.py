"""Derives the API key of a private key and writes it to a file of its owner: set-up, before any start."""

from __future__ import annotations

import asyncio

from app.clock import Ports
from app.config import Settings
from app.errors import BadInput, Code
from app.secrets import open_source
from app.secrets.files import write_new
from app.venue.interface import Absent, Found, Unread
from app.venue.polymarket.signing import Signer
from app.venue.polymarket.wallet import NewApiKey, api_key
from workers.doctor.run import asking


def derive(settings: Settings, path: str, *, nonce: int = 0, make: bool = False) -> str:
    """Ask the venue for the API key, write it to the new file ``path``, return its id.

    ``make``: make one if there is none. Blocks. Raises ``BAD_SETTING`` if there is no key, or the venue
    does not answer cleanly, and ``BAD_FILE`` if the file cannot be made.
    """
    signer = open_source(settings).read().current.signer
    found = asyncio.run(_ask(settings, signer, nonce, make))
    match found:
        case Found(value=key):
            write_new(path, key.settings())
            return key.key_id
        case Absent():
            raise BadInput(
                Code.BAD_SETTING,
                f"{signer.address} has no API key with nonce {nonce}",
                not_done="no key was made and no file was written",
                next_step="repeat with --make; a new key may end the one a worker is using",
            )
        case Unread(reason=reason):
            raise BadInput(
                Code.BAD_SETTING,
                f"the venue gave no API key: {reason}",
                not_done="no file was written; with --make a key may have been made",
                next_step="look at clock and address, then repeat: deriving the same key is harmless",
            )


async def _ask(
    settings: Settings, signer: Signer, nonce: int, make: bool
) -> Found[NewApiKey] | Absent | Unread:
    async with asking(settings, Ports.system(), None) as asker:
        return await api_key(asker, signer, nonce=nonce, make=make)
