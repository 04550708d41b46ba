"""The mutants are data about the code: each must still apply, be valid, and lie in a function that tests run."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from proof.mutation.coverage import Coverage, touched
from proof.mutation.mutants import DoesNotApply, Mutant, _named, named_mutants, source
from proof.mutation.python_rules import function_at, python_mutants
from proof.mutation.results import EXPLAINED, explanations
from proof.mutation.sql_rules import sql_mutants
from proof.mutation.sql_text import changed, functions, tokens
from proof.mutation.targets import python_files, sql_files

PLANTED = (
    "planted: completion without fence",
    "planted: release on cancel accepted",
    "planted: fill and position in two commits",
)


def test_every_named_mutant_still_applies_to_one_place() -> None:
    mutants = named_mutants()
    assert len(mutants) >= 150
    assert {one.name for one in mutants} >= set(PLANTED)
    assert all(one.text() != source(one.file) for one in mutants)


def test_a_named_mutant_whose_text_is_gone_is_told() -> None:
    with pytest.raises(DoesNotApply, match="0 times"):
        _named(
            {
                "name": "gone",
                "file": "app/ledger/sql/functions/settle.sql",
                "old": "this is nowhere",
                "new": "",
                "why": "a guard that was rewritten",
            }
        )


@pytest.mark.parametrize(
    "mutant", [one for one in named_mutants() if one.is_sql], ids=lambda one: one.name
)
def test_a_named_mutant_of_sql_changes_functions(mutant: Mutant) -> None:
    assert changed(source(mutant.file), mutant.text())


@pytest.mark.parametrize(
    "mutant", [one for one in named_mutants() if not one.is_sql], ids=lambda one: one.name
)
def test_a_named_mutant_of_python_is_valid_and_lies_in_a_function(mutant: Mutant) -> None:
    ast.parse(mutant.text())
    assert all(function_at(source(mutant.file), edit.start) for edit in mutant.edits)


def test_named_mutants_touch_every_file_that_is_judged() -> None:
    small = {"app/ledger/sql/functions/queries.sql", "app/ledger/sql/functions/watch.sql"}
    named = {one.file for one in named_mutants()}
    assert len(named) >= 30
    assert small.isdisjoint(named - {*sql_files(), *python_files()})


@pytest.mark.parametrize("file", sql_files())
def test_generated_mutants_of_sql_have_names_of_their_own(file: str) -> None:
    found = sql_mutants(file)
    assert all(count == 1 for count in Counter(one.name for one in found).values())
    assert all(changed(source(file), one.text()) for one in found)


@pytest.mark.parametrize("file", python_files())
def test_generated_mutants_of_python_are_valid(file: str) -> None:
    for mutant in python_mutants(file):
        ast.parse(mutant.text())
        assert mutant.text() != source(file)


def test_a_place_keeps_its_name_while_lines_above_it_change() -> None:
    before = functions("CREATE FUNCTION ledger.f() RETURNS void\nAS $$ BEGIN PERFORM 1; END $$;\n")
    assert [one.name for one in before] == ["ledger.f"]
    assert [token.text for token in tokens(before[0].body)] == ["BEGIN", "PERFORM", "1", ";", "END"]


def test_a_case_and_its_end_stand_at_the_depth_outside() -> None:
    found = tokens(" IF a AND CASE WHEN b THEN c END THEN x := (1 + 2); END IF; ")
    depths = {token.text: token.depth for token in found}
    assert depths["CASE"] == 0
    assert depths["b"] == 1
    assert depths["END"] == 0
    assert depths["+"] == 1


def test_every_named_mutant_has_tests_that_run_it() -> None:
    coverage = Coverage.load()
    alone = [one.name for one in named_mutants() if not coverage.judging(one)]
    assert alone == []


def test_a_function_in_plain_sql_is_judged_by_those_that_call_it() -> None:
    mutant = next(one for one in named_mutants() if one.name == "hold: no fee")
    assert {"ledger._held_by", "ledger._settle", "ledger._admit"} <= touched(mutant)


def test_only_mutants_that_exist_are_explained() -> None:
    known = {one.name for one in named_mutants()}
    for file in sql_files():
        known |= {one.name for one in sql_mutants(file)}
    for file in python_files():
        known |= {one.name for one in python_mutants(file)}
    assert set(explanations(EXPLAINED)) <= known
    assert all(len(why) > 20 for why in explanations(EXPLAINED).values())
