"""``python -m workers.docs``: write the generated pages, or with ``--check`` say which are stale."""

from __future__ import annotations

import argparse
import sys

from workers.docs.pages import DATABASE_PAGE, ROOT, Unworded, pages, state_machine_page


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if done (or nothing is stale), 1 if a page is stale or a name has no words."""
    parser = argparse.ArgumentParser(prog="python -m workers.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    parser.add_argument(
        "--with-database",
        action="store_true",
        help=f"{DATABASE_PAGE} too, from a throw-away embedded server",
    )
    given = parser.parse_args(arguments)
    try:
        wanted = pages()
    except Unworded as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if given.with_database:
        wanted[DATABASE_PAGE] = state_machine_page()
    stale = [name for name, text in wanted.items() if _found(name) != text]
    if given.check:
        for name in stale:
            sys.stderr.write(f"{name} is stale; run: python -m workers.docs\n")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(wanted[name], "utf-8")
        sys.stdout.write(f"wrote {name}\n")
    return 0


def _found(name: str) -> str | None:
    path = ROOT / name
    return path.read_text("utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
