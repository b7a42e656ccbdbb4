"""Compute committed results anew from their scores, when what a mean or an interval is has changed.

    python results/recompute.py results/sweep results/folds

reads each folder's `scores_by_alpha.csv` (or the demo's `scores.csv`) and writes what follows from it: tables, the part
of `summary.json` that is scores, and for a sweep with a page figures and page. Nothing is trained; what takes a
network or CT (relabelling, uncertainty, slices) stays as it is. Folds are by patient: no score is of what was learned.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smiler.domain.files import read_json, write_json, write_text
from smiler.evaluation.score_table import read_scores, scores_table
from smiler.evaluation.scores import Learned, Score
from smiler.experiments.demo import scores_of
from smiler.experiments.score_tables import summary_of, tables_of, write_tables
from smiler.report.comparison import save_pictures
from smiler.report.names import Organs
from smiler.report.report import write_report

KEYS = ("arm", "alpha", "fold", "seed")
SLICES = ("overlays", "rounds")


def main(folders: Sequence[str]) -> None:
    """Each folder: a sweep's, or the demo's."""
    for folder in map(Path, folders):
        if (folder / "scores_by_alpha.csv").exists():
            sweep(folder)
        else:
            demo(folder)


def grouped(path: Path, keys: Sequence[str]) -> dict[tuple[str, ...], list[Score]]:
    """Scores by these columns, each known to be of a test patient."""
    found: dict[tuple[str, ...], list[Score]] = {}
    for row, score in read_scores(path):
        found.setdefault(tuple(row[key] for key in keys), []).append(replace(score, learned=Learned.NO))
    return found


def sweep(folder: Path) -> None:
    """Tables, summary; figures and page where the folder has them."""
    path = folder / "scores_by_alpha.csv"
    groups = grouped(path, KEYS)
    values: dict[tuple[str, float], list[Score]] = {}
    for (arm, alpha, *_), scores in groups.items():
        values.setdefault((arm, float(alpha)), []).extend(scores)
    write_text(path, scores_table([(dict(zip(KEYS, key, strict=True)), rows) for key, rows in groups.items()]))
    tables = tables_of(values)
    write_tables(folder, tables)
    summary = read_json(folder / "summary.json") | summary_of(tables)
    write_json(folder / "summary.json", summary)
    page = folder / "report.html"
    if page.exists():
        save_pictures(folder, Organs(tuple(summary["organs"]), summary["organs"]))
        old = page.read_text(encoding="utf-8")
        write_report(folder)
        write_text(page, with_slices(page.read_text(encoding="utf-8"), old))


def with_slices(page: str, old: str) -> str:
    """The new page with the CT slices of the old one, which come of files that are not committed."""
    found = {name: re.search(f'<section id="{name}">.*?</section>\n', old, re.DOTALL) for name in SLICES}
    kept = {name: match.group() for name, match in found.items() if match and f'<section id="{name}">' not in page}
    links = {name: re.search(f'<a href="#{name}">.*?</a>\n', old) for name in kept}
    page = page.replace("</nav>", "".join(link.group() for link in links.values() if link) + "</nav>", 1)
    return page.replace("</main>", "".join(kept.values()) + "</main>", 1)


def demo(folder: Path) -> None:
    """Scores and the summary's means."""
    groups = grouped(folder / "scores.csv", ("arm",))
    arms: Mapping[str, list[Score]] = {arm: scores for (arm,), scores in groups.items()}
    write_text(folder / "scores.csv", scores_table([({"arm": arm}, rows) for arm, rows in arms.items()]))
    write_json(folder / "summary.json", read_json(folder / "summary.json") | scores_of(arms))


if __name__ == "__main__":
    main(sys.argv[1:])
