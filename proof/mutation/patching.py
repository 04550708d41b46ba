"""Puts a mutant in place, in memory only: functions of a test database, or the code of functions already imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import CodeType, FunctionType

from app.db.schema import render
from app.roles import RolePrefix
from proof.mutation.mutants import Mutant, source
from proof.mutation.python_rules import function_at
from proof.mutation.sql_text import changed
from proof.mutation.targets import ROOT


class Stillborn(Exception):
    """The mutant is not valid code, or changes nothing: it says nothing about the tests."""


def sql_of(mutant: Mutant, prefix: RolePrefix, *, back: bool = False) -> str:
    """Statements that put the changed functions in place of those of a migrated database, or ``back`` the others."""
    before, after = source(mutant.file), mutant.text()
    found = changed(after, before) if back else changed(before, after)
    if not found:
        raise Stillborn("no function differs")
    made = [one.text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1) for one in found]
    return render("\n".join(["SET ROLE ${role_owner};", *made, "RESET ROLE;"]), prefix)


def put_in_place(mutant: Mutant) -> None:
    """Give every function object of the changed function its changed code. For a process that ends soon."""
    _put(mutant, mutant.text())


def take_back(mutant: Mutant) -> None:
    """Give them the code of the file again."""
    _put(mutant, source(mutant.file))


def _put(mutant: Mutant, text: str) -> None:
    names = {
        found[0]
        for edit in mutant.edits
        if (found := function_at(source(mutant.file), edit.start)) is not None
    }
    if not names:
        raise Stillborn("it lies in no function")
    path = str(ROOT / mutant.file)
    try:
        module = compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise Stillborn(str(error)) from error
    made = {code.co_qualname: code for code in _codes(module)}
    for name in names:
        _exchange(path, name, made[name])


def _exchange(path: str, name: str, made: CodeType) -> None:
    gc.unfreeze()  # what the parent froze is in no list of objects
    olds = [
        one
        for one in gc.get_objects()
        if isinstance(one, FunctionType)
        and one.__code__.co_qualname == name
        and one.__code__.co_filename == path
    ]
    if not olds:
        raise Stillborn(f"{name} is not loaded")
    for one in olds:
        if one.__code__.co_freevars != made.co_freevars:
            raise Stillborn(f"{name} closes over other names")
        one.__code__ = made


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)
