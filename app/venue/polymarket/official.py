"""The one place where the official client is used at run time: what a wallet still has to approve.

``AsyncPublicClient.get_trading_approvals_state`` is public, needs no key and sends nothing: it reads the
Data API's index of approvals and knows every contract that trading may need, adapters included,
which GET /balance-allowance of the order book does not. It always asks production: an `Environment`
cannot be made publicly, so neither a loopback address nor a simulator can be asked this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.venue.interface import Found, Unread


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval that is missing."""

    token: str
    spender: str
    kind: str
    """``ERC20`` or ``ERC1155``."""


class Approvals(Protocol):
    """Who knows what a wallet still has to approve."""

    async def missing(self, wallet: str) -> Found[Sequence[Approval]] | Unread: ...


class OfficialApprovals:
    """Asks production through the official client."""

    async def missing(self, wallet: str) -> Found[Sequence[Approval]] | Unread:
        # Imported here: it takes longer than most commands run.
        from polymarket import AsyncPublicClient, PolymarketError

        try:
            async with AsyncPublicClient() as client:
                state = await client.get_trading_approvals_state(wallet=wallet)
        except PolymarketError as error:
            return Unread(f"{type(error).__name__}: {error}"[:300])
        return Found(
            [
                *(Approval(one.token_address, one.spender, "ERC20") for one in state.missing.erc20),
                *(
                    Approval(one.token_address, one.operator, "ERC1155")
                    for one in state.missing.erc1155
                ),
            ]
        )
