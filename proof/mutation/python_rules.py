"""Generated mutants of the Python core. Logs and texts of errors are left alone: no behaviour hangs on them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from proof.mutation.mutants import Edit, Mutant, christened, source

_SHIFTED: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_OTHER_END: Final = {"min": "max", "max": "min"}
_TOLD: Final = ("_log", "_tell", "tell_refused", "log")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Change = tuple[str, ast.AST, str]
"""Rule, what is replaced, and by what."""


def python_mutants(file: str) -> list[Mutant]:
    """All generated mutants of one file, in the order of their places."""
    text = source(file)
    lines = Places(text)
    found: list[Mutant] = []
    where: dict[Edit, str] = {}
    for name, function in outermost(ast.parse(text)):
        for rule, node, new in _changes(function, lines):
            start, end = lines.span(node)
            edit = Edit(start, text[start:end], new)
            if edit not in where:
                where[edit] = f"{Path(file).parent.name}/{Path(file).stem}.{name}"
                found.append(Mutant("", file, (edit,), rule))
    return christened(found, where)


class Places:
    """From the parser's lines and byte columns to characters of the file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        before = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(before)

    def span(self, node: ast.AST) -> tuple[int, int]:
        if isinstance(node, Between):
            return node.start, node.end
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def of(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]


class Between(ast.AST):
    """A stretch of text that is no node of its own."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start, self.end = start, end


def outermost(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Functions and methods, without those inside them, with their qualified names."""
    yield from _outermost(tree.body, "")


def _outermost(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _outermost(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, Function):
            yield prefix + node.name, node


def function_at(text: str, place: int) -> tuple[str, str] | None:
    """Qualified name and text of the outermost function around a place."""
    lines = Places(text)
    for name, node in outermost(ast.parse(text)):
        start, end = lines.span(node)
        if start <= place < end:
            return name, text[start:end]
    return None


def _changes(function: Function, lines: Places) -> Iterator[Change]:
    for statement in function.body:
        for node in _walk(statement):
            for rule in _RULES:
                yield from rule(node, lines)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr) or _is_told(node):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.arguments) or child is getattr(node, "annotation", None)):
            yield from _walk(child)


def _is_told(node: ast.AST) -> bool:
    """A line of the log, or a crash point's name."""
    while isinstance(node, ast.Expr | ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return False
    call = ast.unparse(node.func).split(".")
    return "reached" in call or not set(call).isdisjoint(_TOLD)


# --- the rules --------------------------------------------------------------------------------------


def _conditions(node: ast.AST, lines: Places) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        tests = [node.test]
    elif isinstance(node, ast.comprehension):
        tests = node.ifs
    else:
        return
    for test in tests:
        if not (isinstance(test, ast.Constant) or isinstance(node, ast.While)):
            yield "turned", test, f"not ({lines.of(test)})"


def _operands(node: ast.AST, lines: Places) -> Iterator[Change]:
    if not isinstance(node, ast.BoolOp):
        return
    rule = "term" if isinstance(node.op, ast.And) else "alternative"
    word = " and " if isinstance(node.op, ast.And) else " or "
    for left_out in range(len(node.values)):
        kept = [f"({lines.of(one)})" for n, one in enumerate(node.values) if n != left_out]
        yield rule, node, "(" + word.join(kept) + ")"


def _comparisons(node: ast.AST, lines: Places) -> Iterator[Change]:
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for n, operator in enumerate(node.ops):
        signs = [lines.text[lines.span(a)[1] : lines.span(b)[0]] for a, b in pairwise(operands)]
        if any("(" in sign or ")" in sign for sign in signs):
            continue
        signs[n] = f" {_SHIFTED[type(operator)]} "
        parts = [lines.of(operands[0])]
        for sign, operand in zip(signs, operands[1:], strict=True):
            parts += [sign, lines.of(operand)]
        yield "comparison", node, "".join(parts)


def _arithmetic(node: ast.AST, lines: Places) -> Iterator[Change]:
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)):
        return
    if any(
        isinstance(one, ast.JoinedStr | ast.List | ast.Tuple | ast.Dict)
        for one in (node.left, node.right)
    ):
        return
    if any(
        isinstance(one, ast.Constant) and isinstance(one.value, str)
        for one in (node.left, node.right)
    ):
        return
    sign = "-" if isinstance(node.op, ast.Add) else "+"
    yield "sign", node, f"({lines.of(node.left)}) {sign} ({lines.of(node.right)})"


def _statements(node: ast.AST, lines: Places) -> Iterator[Change]:
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield):
        yield "no-statement", node, "pass"
    elif isinstance(node, ast.AugAssign):
        yield "no-step", node, "pass"
    elif isinstance(node, ast.Continue):
        yield "no-continue", node, "break"


def _values(node: ast.AST, lines: Places) -> Iterator[Change]:
    if (
        isinstance(node, ast.Return)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, bool)
    ):
        yield "answer", node.value, str(not node.value.value)
    elif (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, bool)
    ):
        yield "flag", node.value, str(not node.value.value)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _OTHER_END
    ):
        yield "min-max", node.func, _OTHER_END[node.func.id]


_RULES: Final[tuple[Callable[[ast.AST, Places], Iterator[Change]], ...]] = (
    _conditions,
    _operands,
    _comparisons,
    _arithmetic,
    _statements,
    _values,
)
