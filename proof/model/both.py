"""Two stores at once: each call goes to both, and every answer must be the same. What differs is a violation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from proof.auditor.interface import COLUMNS
from proof.simulation.seam import Store

MOST_TOLD: Final = 1_500


class Differs(AssertionError):
    """The model and the real SQL answered differently."""


class Both:
    """A `Store` that answers with the first one's word, having asked the second as well."""

    def __init__(self, real: Store, model: Store) -> None:
        self.real = real
        self.model = model
        self.compared = 0
        """Answers and views."""
        self.differs = ""
        """The first difference: the code under test takes errors for its surroundings' and may go on."""

    def begin(self, at_us: int) -> None:
        """See `Store.begin`."""
        self.differs = ""
        self.real.begin(at_us)
        self.model.begin(at_us)

    def keep(self) -> None:
        """See `Store.keep`."""
        self.real.keep()
        self.model.keep()

    def set_clock(self, at_us: int) -> None:
        """See `Store.set_clock`."""
        self.real.set_clock(at_us)
        self.model.set_clock(at_us)

    def call(self, function: str, arguments: Sequence[Any]) -> Any:
        """See `Store.call`."""
        told = f"{function}({', '.join(map(repr, arguments))})"
        return self._compare(told, lambda store: store.call(function, arguments), _plain)

    def query(self, statement: str, arguments: Sequence[Any]) -> list[Mapping[str, Any]]:
        """See `Store.query`. Rows of a statement without an order are compared in any."""
        ordered = "ORDER BY" in statement
        told = f"{statement[:200]} with {arguments!r}"

        def shown(rows: Any) -> Any:
            return [_row(one) for one in rows] if ordered else _in_any_order(rows)

        rows: list[Mapping[str, Any]] = self._compare(
            told, lambda store: store.query(statement, arguments), shown
        )
        return rows

    def audit(self, views: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
        """See `Store.audit`: the columns that the auditor reads."""
        ours = self.real.audit(views)
        theirs = self.model.audit(views)
        for view in views:
            columns = COLUMNS[view].split()
            real, model = (
                _in_any_order({name: row[name] for name in columns} for row in rows)
                for rows in (ours[view], theirs[view])
            )
            self._same(f"audit.{view}", real, model)
        return ours

    def settled(self) -> bool:
        """See `Store.settled`."""
        return bool(self._compare("settled", lambda store: store.settled(), bool))

    def ended(self) -> frozenset[str]:
        """See `Store.ended`."""
        ended: frozenset[str] = self._compare("ended", lambda store: store.ended(), sorted)
        return ended

    def volatile(self) -> frozenset[str]:
        """See `Store.volatile`."""
        return self.real.volatile()

    def close(self) -> None:
        """Both are somebody else's."""

    # --- comparing ----------------------------------------------------------------------------------

    def _compare(self, told: str, ask: Callable[[Store], Any], shown: Callable[[Any], Any]) -> Any:
        try:
            real = ask(self.real)
        except asyncpg.PostgresError as error:
            self._refused(told, error, ask)
            raise
        self._same(told, shown(real), shown(ask(self.model)))
        return real

    def _refused(
        self, told: str, error: asyncpg.PostgresError, ask: Callable[[Store], Any]
    ) -> None:
        try:
            answer = ask(self.model)
        except asyncpg.PostgresError as model:
            self._same(told, (error.sqlstate, error.args[0]), (model.sqlstate, model.args[0]))
        else:
            self._same(told, (error.sqlstate, error.args[0]), answer)

    def _same(self, told: str, real: Any, model: Any) -> None:
        self.compared += 1
        if real != model:
            real, model = _apart(real, model)
            words = f"{told[:500]}: the real SQL says {str(real)[:MOST_TOLD]}, the model {str(model)[:MOST_TOLD]}"
            self.differs = self.differs or words
            raise Differs(words)


def _apart(real: Any, model: Any) -> tuple[Any, Any]:
    """Of two lists of one length or two mappings only what differs."""
    if isinstance(real, list) and isinstance(model, list):
        pairs = [(a, b) for a, b in zip(real, model, strict=False) if a != b]
        if pairs and len(real) == len(model):
            return _apart(*pairs[0])
        return [one for one in real if one not in model], [one for one in model if one not in real]
    if isinstance(real, dict) and isinstance(model, dict):
        names = [name for name in {**real, **model} if real.get(name) != model.get(name)]
        return {n: real.get(n) for n in names}, {n: model.get(n) for n in names}
    return real, model


def _plain(answer: Any) -> Any:
    if isinstance(answer, str) and answer.startswith(("[", "{")):
        try:
            return json.loads(answer)
        except ValueError:
            return answer
    return answer


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _in_any_order(rows: Any) -> list[dict[str, Any]]:
    return sorted((_row(one) for one in rows), key=repr)
