"""The thin way from Python to the ledger's SQL functions: JSON in, JSON out, errors translated.

Everything that decides is in the database (one round trip each); nothing here adds a rule. The
worker, the gateway, the command line and the client for bots all go through this class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from app.db.durable import call_durable
from app.db.failures import translated
from app.errors import BadInput, Code

if TYPE_CHECKING:
    from app.db.connect import Pool

Item: TypeAlias = dict[str, Any]
"""One answer: ``item`` (its place in the request), ``status`` and what the function's comment
says.
"""

_PLACES: Final = tuple(", ".join(f"${n}" for n in range(1, count + 1)) for count in range(9))


class LedgerCalls:
    """One method per shape of call. Safe for concurrent use: each call takes a connection of the
    pool.

    Every call is one statement in a commit of its own; when it returns, the commit is durable.
    Raises `DatabaseProblem` (unreachable, NOT_DURABLE: the outcome is not known) and `BadInput`.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def items(self, function: str, items: Iterable[Mapping[str, Any]]) -> list[Item]:
        """Call a function that takes an array and answers per item, in order."""
        answer = await self.value(function, list(items))
        if not isinstance(answer, list):
            raise BadInput(Code.BAD_REQUEST, f"ledger.{function} did not answer with an array")
        return answer

    async def value(self, function: str, *arguments: Any) -> Any:
        """Call any other function. Lists and dicts travel as JSON, a JSON answer comes back
        decoded.

        (A ``text[]`` argument is passed as a tuple of text.)
        """
        given = [self._encode(argument) for argument in arguments]
        with translated():
            async with self.pool.acquire() as connection:
                rows = await call_durable(
                    connection, f"SELECT ledger.{function}({_PLACES[len(given)]}) AS answer", *given
                )
        return self._decode(rows[0]["answer"])

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Read from an audit view: ``rows("SELECT * FROM audit.orders WHERE account = $1",
        "main")``.
        """
        with translated():
            async with self.pool.acquire() as connection:
                return [dict(row) for row in await connection.fetch(query, *arguments)]

    @staticmethod
    def _encode(argument: Any) -> Any:
        if isinstance(argument, (list, Mapping)):
            return json.dumps(argument, separators=(",", ":"))
        if isinstance(argument, tuple):
            return list(argument)
        return argument

    @staticmethod
    def _decode(answer: Any) -> Any:
        if isinstance(answer, str) and answer.startswith(("[", "{")):
            return json.loads(answer)
        return answer


def storable(text: str) -> str:
    """Text of the outside world as the database can hold it: NUL and half characters become U+FFFD.

    A venue's answer with a NUL byte must not keep its outcome from being recorded.
    """
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def refused(answer: Mapping[str, Any]) -> bool:
    """Whether an item was refused (then ``code`` and ``detail`` say why)."""
    return bool(answer["status"] == "refused")
