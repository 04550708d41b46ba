"""``python -m workers.demo [--markets FILE] [--seed N] [--json]``: the demo without the command line."""

import argparse
import sys
from pathlib import Path

from workers.demo.main import run


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m workers.demo")
    parser.add_argument(
        "--markets", type=Path, default=None, help="Gamma JSON to take markets from"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, another course")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given = parser.parse_args()
    return run(given.markets, given.seed, given.json)


if __name__ == "__main__":
    sys.exit(main())
