"""The scans behind the generated pages find what the code says, in each form in which it says it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from workers.docs.events import LEVELS, log_calls
from workers.docs.sources import Unworded, modules, require_words, sql_functions, table

ROOT = Path(__file__).resolve().parents[2]


def found(source: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.event, one.level, one.fields) for one in log_calls("m", ast.parse(source))]


def test_a_log_call_is_found_with_its_level_and_fields() -> None:
    assert found('log.warning("LOST", order=7, code="x")') == [
        ("LOST", "warning", ("order", "code"))
    ]


def test_the_logger_may_be_any_expression() -> None:
    assert found('self._context.named("x").info("SEEN")') == [("SEEN", "info", ())]


def test_a_throttled_event_is_found_behind_its_logger() -> None:
    assert found('throttle.info(log, "SKIPPED", market, reason="LOCKED")') == [
        ("SKIPPED", "info", ("reason",))
    ]


def test_an_event_named_by_a_constant_is_found() -> None:
    assert found('NAME = "HALT"\nlog.error(NAME)') == [("HALT", "error", ())]
    assert found('NAME: Final = "HALT"\nlog.error(NAME)') == [("HALT", "error", ())]


def test_an_event_given_by_callers_is_found() -> None:
    source = """
class A:
    def kept(self, works, event):
        self.log.info(event, order=1)
    def a(self):
        self.kept([], "ONE")
        self.kept([], event="TWO")
"""
    assert found(source) == [("ONE", "info", ("order",)), ("TWO", "info", ("order",))]


def test_either_event_of_a_choice_is_found() -> None:
    assert [event for event, _, _ in found('log.info("A_1" if x else "B_2")')] == ["A_1", "B_2"]


def test_ordinary_text_is_no_event() -> None:
    assert found('parser.error("No such file")') == []


def test_every_log_call_of_the_product_names_an_event_that_the_scan_can_see() -> None:
    unseen = []
    for module, tree in modules(ROOT):
        seen = {one.line for one in log_calls(module, tree)}
        unseen += [
            f"{module}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and "log" in ast.unparse(node.func.value).lower()
            and node.lineno not in seen
            and module != "app.observe.logs"  # the throttle hands on what its callers name
        ]
    assert unseen == []


def test_a_name_without_words_is_told() -> None:
    with pytest.raises(Unworded, match="no words for events: NEW"):
        require_words("events", {"OLD", "NEW"}, {"OLD"})


def test_words_that_nothing_uses_are_told() -> None:
    with pytest.raises(Unworded, match="GONE"):
        require_words("events", {"OLD"}, {"OLD", "GONE"})


def test_functions_are_read_with_their_text() -> None:
    functions = dict(sql_functions(ROOT))
    assert "'CAP_OUTCOME'" in functions["ledger._judge"]
    assert "CREATE FUNCTION ledger._admit" not in functions["ledger._judge"]


def test_a_cell_cannot_break_the_table() -> None:
    assert table(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |"
