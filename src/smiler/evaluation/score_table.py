"""`scores.csv`: one row a patient and organ, with every digit: a number is rounded once, where it is shown."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from smiler.domain.errors import BadInput
from smiler.domain.files import write_text
from smiler.evaluation.metrics import columns
from smiler.evaluation.scores import Learned, Score, columns_of

WHO = ("case", "patient", "organ", "status")
VOLUMES = ("predicted_ml", "reference_ml")
FIRST_METRICS = ("dice", "nsd", "hd95_mm")
"""Metrics that every table has; a later one may be missing in a table that is older than it is."""

Row = Mapping[str, str]


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write `scores.csv`."""
    write_text(path, scores_table([({}, scores)]))


def scores_table(groups: Sequence[tuple[Row, Sequence[Score]]]) -> str:
    """Several groups of scores as one CSV text, each row led by its group's columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    metrics = columns_of(score for _, scores in groups for score in scores) or list(columns())
    writer.writerow([*(groups[0][0] if groups else ()), *WHO, *metrics, *VOLUMES, "learned"])
    for extra, scores in groups:
        for score in scores:
            who = (score.case, score.patient, score.organ, score.status)
            numbers = (*(score.metrics.get(name, "") for name in metrics), score.predicted_ml, score.reference_ml)
            writer.writerow([*extra.values(), *who, *numbers, score.learned.value])
    return stream.getvalue()


def read_scores(path: Path) -> list[tuple[Row, Score]]:
    """Each row, with its score. A table without the column `learned` doesn't know. BadInput names the file and line."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            _check_columns(path, reader.fieldnames or ())
            return list(_scored(path, reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput("the file is not a readable table", where=str(path), got=str(error)) from error


def _scored(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[Row, Score]]:
    for number, row in enumerate(reader, start=2):
        yield row, _score(f"{path}, line {number}", row)


def _check_columns(path: Path, found: Sequence[str]) -> None:
    missing = [name for name in (*WHO, *FIRST_METRICS, *VOLUMES) if name not in found]
    if missing:
        raise BadInput(
            "columns are missing",
            where=str(path),
            got=", ".join(found) or "an empty file",
            do=f"add {', '.join(missing)}",
        )


def _score(where: str, row: Row) -> Score:
    given = [name for name in columns() if name in FIRST_METRICS or row.get(name)]
    try:
        metrics = {name: float(row[name]) for name in given}
        mine, true = (float(row[name]) for name in VOLUMES)
        learned = Learned(row.get("learned") or Learned.UNKNOWN.value)
    except (TypeError, ValueError) as error:
        what = "neither yes, no nor unknown" if "Learned" in str(error) else "not a number"
        raise BadInput(what, where=where, got=str(error)) from error
    shares = [metrics[name] for name, scale in columns().items() if scale.share and name in metrics]
    if not np.isfinite([*metrics.values(), mine, true]).all() or not all(0 <= share <= 1 for share in shares):
        got = str([*metrics.values(), mine, true])
        raise BadInput("Dice and NSD lie in [0, 1], the rest is finite", where=where, got=got)
    return Score(row["case"], row["patient"], row["organ"], row["status"], metrics, mine, true, learned)
