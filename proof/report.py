"""From the kept shares to ``proof/report.json`` and the figures in ``docs/proof.md``.

The page's words are written by people and stay; only what stands between the two marks is made from the figures.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from proof.keeping import DIGEST, Shelf, Sum
from proof.machine import ROOT, machine

REPORT = ROOT / "proof" / "report.json"
PAGE = ROOT / "docs" / "proof.md"
BUGS = ROOT / "proof" / "bugs.toml"
BEGIN, END = "<!-- figures: made by make prove -->", "<!-- end of figures -->"


def compose(shelf: Shelf, commit: str) -> dict[str, Any]:
    """The report of one commit. A part that never ran stands with zero: silence is not success."""
    sums = {part: shelf.sum(part) for part in shelf.parts()}
    points = _points(sums.get("simulation"), "crash_points")
    killed, alive, explained = _mutants(sums.get("mutation"))
    return {
        "commit": commit,
        "machine": machine(),
        "duration_s": round(sum(s.seconds for s in sums.values())),
        "crash_points": points,
        "scenarios": _scenarios(sums.get("simulation")),
        "schedules": _schedules(shelf, "simulation", "model"),
        "schedules_on_real_sql": _schedules(shelf, "simulation"),
        "schedules_on_model": _schedules(shelf, "model"),
        "simulated_hours": round(
            sum(s.figures["simulated_ms"] for s in sums.values()) / 3_600_000, 1
        ),
        "kills": sum(s.figures["kills"] for s in sums.values()),
        "kill_points": _points(sums.get("kills"), "kill_points"),
        "failovers": sum(s.figures["failovers"] for s in sums.values()),
        "mutation_score": _score(killed, alive - explained),
        "mutants": {
            "killed": len(killed),
            "alive": len(alive),
            "explained": len(alive & explained),
        },
        "mutants_named": _mutants_of(sums.get("mutation"), "named"),
        "mutants_generated": _mutants_of(sums.get("mutation"), "generated"),
        "fuzz_inputs": sums["fuzzing"].figures["inputs"] if "fuzzing" in sums else 0,
        "violations": [asdict(v) for s in sums.values() for v in s.violations],
        "bugs": bugs(),
        "parts": {name: _part(total) for name, total in sums.items()},
    }


def bugs() -> list[dict[str, Any]]:
    """What the campaign found and what was mended, each with its seed and the test that keeps it."""
    return list(tomllib.loads(BUGS.read_text())["bug"]) if BUGS.exists() else []


def write(report: Mapping[str, Any]) -> None:
    """The committed figures. Only a long run may come here."""
    REPORT.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    page = PAGE.read_text()
    head, rest = page.split(BEGIN, 1)
    PAGE.write_text(head + BEGIN + "\n\n" + figures(report) + "\n\n" + END + rest.split(END, 1)[1])


def figures(report: Mapping[str, Any]) -> str:
    """The tables of the page, from the report alone: a test compares the page with the committed report."""
    points, mutants, seen = report["crash_points"], report["mutants"], report["machine"]
    named = report["kill_points"]
    lines = [
        f"Commit `{report['commit'][:12]}`, {_machine(seen)}; {report['duration_s'] / 60:,.0f} minutes of campaign.",
        "",
        "| what | figure |",
        "|---|---|",
        f"| crash points taken, of those that exist | {points['taken']:,} of {points['existing']:,} |",
        f"| scenarios | {', '.join(report['scenarios']) or 'none'} |",
        f"| distinct schedules | {report['schedules']:,} |",
        f"| of them on the real SQL | {report['schedules_on_real_sql']:,} |",
        f"| of them on the model of it | {report.get('schedules_on_model', 0):,} |",
        f"| simulated hours | {report['simulated_hours']:,} |",
        f"| real kills | {report['kills']:,} |",
        f"| named points of real kills taken, of those that exist | {named['taken']:,} of {named['existing']:,} |",
        f"| failovers | {report['failovers']:,} |",
        f"| mutants killed | {mutants['killed']:,} |",
        f"| mutants alive (of them explained) | {mutants['alive']:,} ({mutants['explained']:,}) |",
        f"| of the named ones: killed, alive | {_both(report, 'mutants_named')} |",
        f"| of the generated ones, as far as drawn: killed, alive | {_both(report, 'mutants_generated')} |",
        f"| mutation score | {report['mutation_score']:.3f} |",
        f"| fuzz inputs | {report['fuzz_inputs']:,} |",
        f"| violations open | {len(report['violations']):,} |",
        f"| bugs found on the way | {len(report['bugs']):,} |",
    ]
    for name, part in sorted(report["parts"].items()):
        lines += ["", f"### {name}", "", *_details(part)]
    if report["bugs"]:
        lines += ["", "### Bugs found on the way, all mended", "", *_rows(report["bugs"])]
    return "\n".join(lines)


def _machine(seen: Mapping[str, Any]) -> str:
    return f"{seen['cores']} cores, {seen['memory_gib']} GiB, {seen['system']}, Python {seen['python']}"


def _details(part: Mapping[str, Any]) -> list[str]:
    counted = ", ".join(
        f"{name.replace('_', ' ')} {value:,}" for name, value in sorted(part["figures"].items())
    )
    return [counted or "No figures.", *(["", *_rows(part["rows"])] if part["rows"] else [])]


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "key"))
    out = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    out += ["| " + " | ".join(_cell(row.get(c, "")) for c in columns) + " |" for row in rows]
    return out


def _cell(value: Any) -> str:
    return (
        (f"{value:,}" if isinstance(value, int) else str(value))
        .replace("|", "\\|")
        .replace("\n", " ")
    )


def _part(total: Sum) -> dict[str, Any]:
    return {
        "runs": total.runs,
        "seconds": round(total.seconds),
        "figures": dict(total.figures) | ({"distinct": total.distinct} if total.distinct else {}),
        "rows": [total.rows[key] for key in sorted(total.rows)],
    }


def _points(total: Sum | None, kind: str) -> dict[str, int]:
    existing = total.sets.get(f"{kind}_existing", set()) if total else set()
    taken = total.sets.get(f"{kind}_taken", set()) if total else set()
    return {"existing": len(existing), "taken": len(taken & existing)}


def _schedules(shelf: Shelf, *parts: str) -> int:
    """Distinct ones of several parts: the same schedule on the real SQL and on the model of it is one."""
    found: set[bytes] = set()
    for part in parts:
        for path in (shelf.folder / part).glob("*.hashes"):
            data = path.read_bytes()
            found.update(data[place : place + DIGEST] for place in range(0, len(data), DIGEST))
    return len(found)


def _scenarios(total: Sum | None) -> list[str]:
    return sorted(total.sets.get("scenarios", set())) if total else []


def _mutants(total: Sum | None) -> tuple[set[str], set[str], set[str]]:
    """Killed wins over alive: a mutant that a later, better test kills is killed."""
    if total is None:
        return set(), set(), set()
    killed = total.sets.get("killed", set())
    return killed, total.sets.get("alive", set()) - killed, total.sets.get("explained", set())


def _mutants_of(total: Sum | None, kind: str) -> dict[str, int]:
    """Of one kind: a removal that somebody thought of says something else than one that a rule made."""
    killed = total.sets.get(f"{kind}_killed", set()) if total else set()
    alive = total.sets.get(f"{kind}_alive", set()) - killed if total else set()
    return {"killed": len(killed), "alive": len(alive)}


def _both(report: Mapping[str, Any], kind: str) -> str:
    found = report.get(kind, {"killed": 0, "alive": 0})
    return f"{found['killed']:,}, {found['alive']:,}"


def _score(killed: set[str], alive: set[str]) -> float:
    counted = len(killed) + len(alive)
    return round(len(killed) / counted, 4) if counted else 0.0
