"""The rules of CONTRIBUTING.md that a program can check, checked by a program.

Each rule is a function from a text to what is wrong with it, so that the tests below can show it
both the repository (nothing is wrong) and a planted fault (it is found).
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("app/", "workers/", "migrations/", "tests/")
MAX_LINES = 500
HEADER_WORDS = ("purpose:", "locks:", "index:", "fence:")

INTEGER_ONLY = ("app/ledger/", "app/gateway/", "app/risk/", "app/venue/")
FLOAT_ALLOWED: dict[str, str] = {}
"""File to the reason why it may turn something into a float or a Decimal."""

GENERATED_OR_FOREIGN = {"requirements.lock", "requirements-dev.lock", "LICENSE"}
SKIPPED_FOLDERS = {".git", ".venv", "__pycache__", "build", "dist", "node_modules"}


@cache
def project_files() -> tuple[str, ...]:
    """What git tracks or would track; without git, everything but environments and caches."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        names = [name for name in answer.stdout.decode().split("\0") if name]
        if answer.returncode == 0 and names:
            return tuple(sorted(name for name in names if (ROOT / name).is_file()))
    return tuple(sorted(_walk(ROOT)))


def _walk(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name != ".ci"
            if not (hidden or path.name in SKIPPED_FOLDERS or path.name.endswith(".egg-info")):
                yield from _walk(path)
        elif path.name != ".env":
            yield path.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def python_files(*tops: str) -> list[str]:
    return [name for name in project_files() if name.endswith(".py") and name.startswith(tops)]


# ------------------------------------------------------------------------------------ the rules


def missing_header_words(sql: str) -> list[str]:
    """Words of the header that the leading comment of an SQL file lacks."""
    header = []
    for line in sql.splitlines():
        if line.strip() and not line.lstrip().startswith("--"):
            break
        header.append(line.lower())
    return [
        word
        for word in HEADER_WORDS
        if not any(re.match(rf"\s*--\s*{word}\s*\S", line) for line in header)
    ]


def inexact_numbers(source: str) -> list[str]:
    """Calls of ``float`` and ``Decimal``, and imports of ``decimal``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node) in {"float", "Decimal"}:
            found.append(f"line {node.lineno}: {_called(node)}(")
        elif isinstance(node, ast.ImportFrom) and node.module == "decimal":
            found.append(f"line {node.lineno}: from decimal import")
        elif isinstance(node, ast.Import) and any(item.name == "decimal" for item in node.names):
            found.append(f"line {node.lineno}: import decimal")
    return found


def swallowed_errors(source: str) -> list[str]:
    """Handlers of everything that do nothing, and ``suppress(Exception)``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            if _catches_all(node.type) and all(_does_nothing(step) for step in node.body):
                found.append(f"line {node.lineno}: caught and dropped")
        elif isinstance(node, ast.Call) and _called(node) == "suppress":
            found += [f"line {node.lineno}: suppressed" for arg in node.args if _catches_all(arg)]
    return found


def sleeps(source: str) -> list[str]:
    """Calls of any ``sleep`` with anything but a literal zero (which only gives way)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node) == "sleep":
            gives_way = (
                len(node.args) == 1
                and isinstance(node.args[0], ast.Constant)
                and node.args[0].value == 0
            )
            if not gives_way:
                found.append(f"line {node.lineno}: sleep")
    return found


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _catches_all(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    if isinstance(kind, ast.Tuple):
        return any(_catches_all(one) for one in kind.elts)
    return isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}


def _does_nothing(step: ast.stmt) -> bool:
    return isinstance(step, ast.Pass | ast.Continue) or (
        isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)
    )


def _joined(*parts: str) -> str:
    """Writes a forbidden word without containing it, so that this file may be checked too."""
    return "".join(parts)


FOREIGN_WORDS: dict[str, re.Pattern[str]] = {
    "a package registry": re.compile(
        "|".join(
            re.escape(_joined(*parts))
            for parts in (
                ("py", "pi.org"),
                ("pythonhosted", ".org"),
                ("npmjs", ".org"),
                ("crates", ".io"),
                ("proxy.golang", ".org"),
                ("docker", ".io"),
                ("gh", "cr.io"),
                ("quay", ".io"),
                ("extra-index", "-url"),
                ("--index", "-url"),
                ("--find", "-links"),
            )
        ),
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(
        "|".join(
            rf"(?<![\w.-]){_joined(*parts)}"
            for parts in (
                ("/wo", "rk/"),
                ("/ro", "ot/"),
                ("/ro", r"ot\b(?!\w)"),
                ("/home", r"/\w"),
                ("/Us", r"ers/\w"),
                ("/opt", "/wheels"),
                ("/opt", "/pypi"),
                ("/tmp/", "team"),
            )
        )
    ),
    "how it is written": re.compile(
        "|".join(
            _joined(*parts)
            for parts in (
                (r"\bA", r"I[- ](agent|assistant|generated|model|written)"),
                (r"\bsub-?", r"agents?\b"),
                (r"\bcoding ", r"agents?\b"),
                (r"\bclau", r"de\b"),
                (r"\banth", r"ropic\b"),
                (r"\bopen", r"ai\b"),
                (r"\bchat", r"gpt\b"),
                (r"\bgpt", r"-\d"),
                (r"\bcopi", r"lot\b"),
                (r"\bLL", r"Ms?\b"),
                (r"\blanguage ", r"models?\b"),
                (r"co-authored", r"-by:"),
                (r"\bgenerated ", r"(with|by) (an? )?(AI|model|assistant)\b"),
                (r"\biss", r"ue #?\d+\b"),
                (r"\bthe fou", r"nder\b"),
            )
        ),
        re.IGNORECASE,
    ),
}


def foreign_words(text: str) -> list[str]:
    """Lines that speak of anything but the project itself."""
    return [
        f"line {number}: {kind}: {match.group(0)!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for kind, pattern in FOREIGN_WORDS.items()
        if (match := pattern.search(line))
    ]


# ------------------------------------------------------------------- the repository obeys them


def broken(rule: Callable[[str], list[str]], names: list[str]) -> str:
    return "\n".join(f"{name}: {fault}" for name in names for fault in rule(text_of(name)))


def test_the_rules_read_the_files_there_are() -> None:
    """An empty list would make every test here pass for ever."""
    assert {"app/money.py", "pyproject.toml", "Makefile"} <= set(project_files())
    assert python_files(*CODE)


def test_every_sql_file_says_what_it_locks_before_how() -> None:
    names = [name for name in project_files() if re.fullmatch(r"app/.*/?sql/.*\.sql", name)]
    assert not broken(lambda sql: [f"lacks {w}" for w in missing_header_words(sql)], names)


def test_no_sql_lies_outside_an_sql_folder() -> None:
    stray = [
        name
        for name in project_files()
        if name.endswith(".sql") and not name.startswith(("migrations/", "tests/"))
        if "/sql/" not in name
    ]
    assert not stray


def test_money_is_integers_where_orders_live() -> None:
    names = [name for name in python_files(*INTEGER_ONLY) if name not in FLOAT_ALLOWED]
    assert not broken(inexact_numbers, names)


def test_no_exception_for_floats_is_kept_that_nobody_uses() -> None:
    unused = [name for name in FLOAT_ALLOWED if not inexact_numbers(text_of(name))]
    assert not unused


def test_no_error_is_caught_and_dropped() -> None:
    assert not broken(swallowed_errors, python_files(*CODE))


def test_no_test_sleeps() -> None:
    assert not broken(sleeps, python_files("tests/"))


def test_python_files_can_be_read_whole() -> None:
    lengths = {name: len(text_of(name).splitlines()) for name in python_files(*CODE)}
    assert not {name: n for name, n in lengths.items() if n > MAX_LINES}


def test_every_module_says_why_it_exists() -> None:
    silent = [
        name
        for name in python_files("app/", "workers/")
        if text_of(name).strip() and not ast.get_docstring(ast.parse(text_of(name)))
    ]
    assert not silent


def test_the_project_speaks_of_itself_alone() -> None:
    names = [name for name in project_files() if name not in GENERATED_OR_FOREIGN]
    assert not broken(foreign_words, names)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_versions_and_hashes_and_no_address(name: str) -> None:
    lines = [line for line in text_of(name).splitlines() if not line.startswith("#")]
    odd = [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\", line)
        and not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
    ]
    assert lines
    assert not odd


def test_both_lock_files_pin_the_same_versions() -> None:
    pins = {
        name: dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text_of(name), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    }
    run, develop = pins["requirements.lock"], pins["requirements-dev.lock"]
    assert {name: version for name, version in run.items() if develop.get(name) != version} == {}


# -------------------------------------------------------------------- the rules find their faults

GOOD_HEADER = "-- purpose: x\n-- locks:   none\n-- index:   none\n-- fence:   none\nSELECT 1;\n"


@pytest.mark.parametrize("word", HEADER_WORDS)
def test_a_header_that_lacks_a_word_is_found(word: str) -> None:
    assert missing_header_words(GOOD_HEADER) == []
    lacking = "\n".join(line for line in GOOD_HEADER.splitlines() if word not in line)
    assert missing_header_words(lacking) == [word]


def test_a_header_below_the_code_is_no_header() -> None:
    assert missing_header_words("SELECT 1;\n" + GOOD_HEADER) == list(HEADER_WORDS)


@pytest.mark.parametrize(
    "source",
    ["x = float('1')", "from decimal import Decimal", "import decimal", "y = decimal.Decimal(1)"],
)
def test_an_inexact_number_is_found(source: str) -> None:
    assert inexact_numbers(source)


def test_a_float_of_seconds_in_a_signature_is_no_money() -> None:
    assert inexact_numbers("def f(seconds: float = 0.5) -> float: return seconds") == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    ...",
        "for x in y:\n  try:\n    f()\n  except (ValueError, BaseException):\n    continue",
        "with contextlib.suppress(Exception):\n    f()",
    ],
)
def test_a_dropped_error_is_found(source: str) -> None:
    assert swallowed_errors(source)


def test_a_named_error_may_be_expected() -> None:
    assert swallowed_errors("try:\n    f()\nexcept FileNotFoundError:\n    pass") == []
    assert swallowed_errors("try:\n    f()\nexcept Exception as e:\n    log(e)\n    raise") == []


@pytest.mark.parametrize("call", ["time.sleep(1)", "asyncio.sleep(0.01)", "sleep(delay)"])
def test_a_sleeping_test_is_found(call: str) -> None:
    assert sleeps(call)
    assert sleeps("asyncio.sleep(0)") == []


@pytest.mark.parametrize(
    "text",
    [
        _joined("https://py", "pi.org/simple"),
        _joined("see /wo", "rk/main"),
        _joined("cd /ro", "ot/x"),
        _joined("written with Clau", "de"),
        _joined("an A", "I assistant"),
        _joined("closes iss", "ue 2"),
    ],
)
def test_a_foreign_word_is_found(text: str) -> None:
    assert foreign_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "a database session",
        "User-Agent",
        "the network/root cause",
        "an open issue",
        "https://x.y/z",
    ],
)
def test_an_ordinary_word_is_not_taken_for_a_foreign_one(text: str) -> None:
    assert foreign_words(text) == []
