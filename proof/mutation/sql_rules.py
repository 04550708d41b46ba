"""Generated mutants of the ledger's functions: what a hurried hand might have left out or turned round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from proof.mutation.mutants import Edit, Mutant, christened, source
from proof.mutation.sql_text import Function, Token, functions, tokens

_STOP: Final = (
    "AND", "OR", "THEN", "LOOP", "ORDER", "GROUP", "LIMIT", "RETURNING", "FOR", "WHEN", "ELSE", "UNION", "JOIN",
    "LEFT", "CROSS", "WHERE", "INTO", "AS", "FOREACH",
)  # fmt: skip
_START: Final = ("WHERE", "IF", "ELSIF", "WHEN", "ON", "RETURN", "SELECT", "THEN", "ELSE", "OR")
_SHIFTED: Final = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_TURNED: Final = {"+": "-", "-": "+"}
_OTHER_END: Final = {"greatest": "least", "least": "greatest"}
_UNIQUE: Final = (
    "order_id",
    "outbox_id",
    "withdrawal_id",
    "replacement_id",
    "run_id",
    "old_order_id",
)
_WHOLE: Final = ("PERFORM", "UPDATE", "INSERT", "DELETE", "RAISE")

Change = tuple[str, int, int, str]
"""Rule, begin and end in the body, and what stands there then."""


def sql_mutants(file: str) -> list[Mutant]:
    """All generated mutants of one file, in the order of their places."""
    found: list[Mutant] = []
    where: dict[Edit, str] = {}
    for function in functions(source(file)):
        for rule, start, end, new in _changes(function):
            edit = Edit(function.body_start + start, function.body[start:end], new)
            if edit not in where:
                where[edit] = f"{Path(file).stem}.{function.name.removeprefix('ledger.')}"
                found.append(Mutant("", file, (edit,), rule))
    return christened(found, where)


def _changes(function: Function) -> Iterator[Change]:
    body = tokens(function.body)
    for rule in _RULES:
        yield from rule(body)


# --- conditions -------------------------------------------------------------------------------------


def _terms(body: list[Token]) -> Iterator[Change]:
    """An operand of AND or OR left out."""
    between: set[int] = set()
    for i, token in enumerate(body):
        if token.is_word("BETWEEN"):
            between.add(token.depth)
        if token.is_word("AND") and token.depth in between:
            between.discard(token.depth)
            continue
        if not token.is_word("AND", "OR"):
            continue
        rule = "term" if token.text == "AND" else "alternative"
        end = _right(body, i)
        begin = _left(body, i)
        if not _is_implied(body, i + 1, end):
            yield rule, token.start, body[end - 1].end, ""
        if begin is not None and not _is_implied(body, begin, i):
            yield rule, body[begin].start, body[i + 1].start, ""


def _is_implied(body: list[Token], first: int, behind: int) -> bool:
    """Ids of orders and their like are drawn from one sequence for all accounts: beside one, the account's own id only
    leads to the right index. Without it every row is the same.
    """
    words = [token.text for token in body[first:behind] if token.text != "."]
    if (
        words.count("account_id") + words.count("v_account_id") + words.count("p_account_id") < 2
        or "=" not in words
    ):
        return False
    if len(words) > 5:
        return False
    around = range(max(first - 24, 0), min(behind + 24, len(body)))
    near = {body[j].text for j in around if body[j].kind == "word"}
    return not near.isdisjoint(_UNIQUE)


def _right(body: list[Token], i: int) -> int:
    """One behind the last token of the operand to the right."""
    depth, binds = body[i].depth, body[i].text
    between = False
    for j in range(i + 1, len(body)):
        token = body[j]
        if token.depth < depth or (token.depth == depth and token.is_sign(";", ",")):
            return j
        if token.depth > depth or token.kind != "word":
            continue
        if token.text == "BETWEEN":
            between = True
        elif token.text == "AND" and (between or binds == "OR"):
            between = False
        elif token.text in _STOP:
            return j
    return len(body)


def _left(body: list[Token], i: int) -> int | None:
    """The first token of the operand to the left, where nothing but the condition's begin stands before it."""
    depth, binds = body[i].depth, body[i].text
    for j in range(i - 1, -1, -1):
        token = body[j]
        if token.depth < depth:
            return j + 1 if token.is_sign("(") else None
        if token.depth > depth:
            continue
        if token.is_word("AND", "BETWEEN") and binds == "AND":
            return None
        if token.is_word(*_START) or token.is_sign(":="):
            if token.is_word("OR") and binds == "OR":
                return None
            return j + 1
    return 0


def _branches(body: list[Token]) -> Iterator[Change]:
    """A condition of IF turned round; a branch of ELSIF or of a searched CASE never taken."""
    searched: dict[int, bool] = {}
    for i, token in enumerate(body):
        if token.is_word("CASE"):
            searched[token.depth + 1] = body[i + 1].is_word("WHEN")
        is_when = token.is_word("WHEN") and searched.get(token.depth, False)
        is_if = token.is_word("IF") and not (i and body[i - 1].is_word("END", "EXISTS"))
        if not (is_when or is_if or token.is_word("ELSIF")):
            continue
        then = next(
            (
                j
                for j in range(i + 1, len(body))
                if body[j].is_word("THEN") and body[j].depth == token.depth
            ),
            None,
        )
        if then is None:
            continue
        start, end = body[i + 1].start, body[then - 1].end
        if is_if:
            yield (
                "if-turned",
                start,
                end,
                "NOT coalesce((" + _between(body, i + 1, then) + "), false)",
            )
        else:
            yield "branch", start, end, "false"


def _between(body: list[Token], first: int, behind: int) -> str:
    out, place = "", body[first].start
    for token in body[first:behind]:
        out += " " * (token.start > place) + token.text
        place = token.end
    return out


# --- values -----------------------------------------------------------------------------------------


def _signs(body: list[Token]) -> Iterator[Change]:
    for i, token in enumerate(body):
        if token.is_sign(*_SHIFTED):
            yield "comparison", token.start, token.end, _SHIFTED[token.text]
        elif token.is_sign("+", "-") and i and _ends_a_value(body[i - 1]):
            yield "sign", token.start, token.end, _TURNED[token.text]
        elif token.kind == "word" and token.text in _OTHER_END:
            yield "least-greatest", token.start, token.end, _OTHER_END[token.text]


def _ends_a_value(token: Token) -> bool:
    if token.kind == "word":
        return token.text.upper() != token.text or token.text == "END"
    return token.kind in ("number", "text") or token.is_sign(")", "]")


# --- statements -------------------------------------------------------------------------------------


def _statements(body: list[Token]) -> Iterator[Change]:
    """A whole statement left out."""
    for i, token in enumerate(body):
        begins = (
            not i
            or body[i - 1].is_sign(";")
            or body[i - 1].is_word("THEN", "ELSE", "BEGIN", "LOOP")
        )
        if not (begins and token.depth == 0 and token.is_word(*_WHOLE)):
            continue
        end = next(
            (j for j in range(i, len(body)) if body[j].is_sign(";") and body[j].depth == 0), None
        )
        if end is not None:
            yield f"no-{token.text.lower()}", token.start, body[end].start, "NULL"


def _columns(body: list[Token]) -> Iterator[Change]:
    """A column of UPDATE that is not written."""
    for i, token in enumerate(body):
        if not token.is_word("SET") or body[i - 1].is_word("SESSION", "LOCAL"):
            continue
        depth = token.depth
        items: list[tuple[int, int]] = []
        first = i + 1
        for j in range(i + 1, len(body) + 1):
            at_end = j == len(body) or body[j].depth < depth
            if not at_end and body[j].depth != depth:
                continue
            at_end = at_end or body[j].is_sign(";") or body[j].is_word("WHERE", "FROM", "RETURNING")
            if at_end or body[j].is_sign(","):
                items.append((first, j))
                first = j + 1
            if at_end:
                break
        if len(items) < 2:
            continue
        for n, (begin, end) in enumerate(items):
            start = body[begin].start if n == 0 else body[begin - 1].start
            stop = body[end].end if n == 0 else body[end - 1].end
            yield "column", start, stop, ""


def _locks(body: list[Token]) -> Iterator[Change]:
    """A lock that is not taken, not in order, or waited for."""
    for i, token in enumerate(body):
        if not (token.is_word("FOR") and i + 1 < len(body) and body[i + 1].is_word("UPDATE")):
            continue
        end = i + 2
        if end < len(body) and body[end].is_word("OF"):
            end += 2
        skips = end + 1 < len(body) and body[end].is_word("SKIP")
        if skips:
            yield "waits", body[end].start, body[end + 1].end, ""
            end += 2
        yield "no-lock", token.start, body[end - 1].end, ""
        order = _ordered(body, i)
        if order is not None:
            yield "no-order", body[order].start, body[i - 1].end + 1, ""


def _ordered(body: list[Token], i: int) -> int | None:
    for j in range(i - 1, -1, -1):
        if body[j].depth < body[i].depth or body[j].is_sign(";"):
            return None
        if body[j].depth == body[i].depth and body[j].is_word("LIMIT", "WHERE"):
            return None
        if body[j].depth == body[i].depth and body[j].is_word("ORDER"):
            return j
    return None


_RULES: Final[tuple[Callable[[list[Token]], Iterator[Change]], ...]] = (
    _terms,
    _branches,
    _signs,
    _statements,
    _columns,
    _locks,
)
