"""The audit as a reader sees it: who annotated what, and what the loss makes of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from smiler.report.figures import shortened
from smiler.report.inputs import Audit, Coverage, Voxels
from smiler.report.names import Organs

CELL, GAP = 15, 2
"""Side of a cell and the gap between two, in CSS pixels."""

NARROW, MANY = 4, 120
"""With more cases than MANY, cells are NARROW pixels wide and cases go unnamed."""

BLOCK = {CELL: 44, NARROW: 200}
"""Cases in one row of cells; a larger cohort goes on below."""

MEANINGS: dict[Coverage, str] = {
    Coverage.ANNOTATED: "annotated: an expert drew the organ",
    Coverage.PARTIAL: "partial: drawn on some slices",
    Coverage.ABSENT: "absent: an expert looked, the organ is not there",
    Coverage.AUTO: "proposed by a model, accepted by nobody",
    Coverage.UNANNOTATED: "nobody looked",
}

EVIDENCE: dict[str, str] = {
    "positive": "drawn by an expert",
    "implied": "implied by a part of it",
    "pseudo": "proposed by a round",
    "negative": "known not to be it",
    "excluded": "taken by another organ",
    "unknown": "nobody said, left out of the loss",
}


@dataclass(frozen=True)
class Block:
    """Some cases of the coverage matrix, as SVG paths by status."""

    width: int
    height: int
    left: int
    top: int
    cases: Sequence[tuple[float, str]]
    organs: Sequence[tuple[float, str]]
    paths: Mapping[str, str]


@dataclass(frozen=True)
class LossRow:
    """What a loss sees of one organ: shares of all voxels by evidence, and the baseline's error as a multiple."""

    organ: str
    alpha: float | None
    shares: Mapping[str, float]
    multiple: float | None

    @property
    def learned(self) -> Mapping[str, float]:
        """Share of all voxels that teach the organ, by method."""
        of = self.shares
        own = of["positive"] + of["negative"]
        return {"smile": 1 - of["unknown"] - of["pseudo"], "ignore-volume": own, "baseline": 1.0}


@dataclass(frozen=True)
class Cover:
    """What the page shows of an audit; `evidence` are the kinds that occur, with their meanings."""

    blocks: Sequence[Block]
    counts: Mapping[Coverage, int]
    drawn: Mapping[str, int]
    cases: int
    evidence: Mapping[str, str]
    rows: Sequence[LossRow]
    exact: bool
    largest: float
    faults: Sequence[str]
    notes: Sequence[str]


def make_cover(audit: Audit, organs: Organs) -> Cover:
    """Everything the page shows of an audit."""
    cells = [status for row in audit.coverage for status in row]
    rows = [_loss_row(audit, key) for key in audit.organs if key in audit.voxels]
    evidence = {name: text for name, text in EVIDENCE.items() if any(row.shares[name] for row in rows)}
    return Cover(
        list(_blocks(audit, organs)),
        {status: cells.count(status) for status in Coverage},
        {key: _drawn(audit, place) for place, key in enumerate(audit.organs)},
        len(audit.cases),
        evidence,
        rows,
        audit.false_negatives is not None,
        max([1.5, *(row.multiple for row in rows if row.multiple is not None)]),
        audit.faults,
        audit.notes,
    )


def glyph(status: Coverage, x: int, y: int) -> str:
    """A cell's SVG path: each status has a shape of its own, so that it can be told without colour."""
    corner = f"M{x} {y}"
    return {
        Coverage.ANNOTATED: f"{corner}h15v15h-15z",
        Coverage.PARTIAL: f"{corner}v15h15z",
        Coverage.ABSENT: f"M{x} {y + 6}h15v3h-15z",
        Coverage.AUTO: f"M{x + 7.5} {y}l7.5 7.5l-7.5 7.5l-7.5 -7.5z",
        Coverage.UNANNOTATED: f"M{x + 0.5} {y + 0.5}h14v14h-14z",
    }[status]


def _drawn(audit: Audit, place: int) -> int:
    return sum(row[place] in (Coverage.ANNOTATED, Coverage.PARTIAL) for row in audit.coverage)


def _loss_row(audit: Audit, key: str) -> LossRow:
    voxels = audit.voxels[key]
    exact = audit.false_negatives
    wrong = (audit.expected_false_negatives if exact is None else exact).get(key)
    multiple = None if wrong is None or not voxels.positive else wrong / voxels.positive
    return LossRow(key, audit.alpha.get(key), _shares(voxels), multiple)


def _shares(voxels: Voxels) -> dict[str, float]:
    return {name: getattr(voxels, name) / max(voxels.total, 1) for name in EVIDENCE}


def _blocks(audit: Audit, organs: Organs) -> Iterator[Block]:
    width = CELL if len(audit.cases) <= MANY else NARROW
    titles = [shortened(organs.title(key), 24) for key in audit.organs]
    left = 12 + 7 * max(map(len, titles), default=0)
    for start in range(0, len(audit.cases), BLOCK[width]):
        yield _block(audit, range(start, min(start + BLOCK[width], len(audit.cases))), width, (left, titles))


def _block(audit: Audit, cases: range, width: int, labels: tuple[int, list[str]]) -> Block:
    left, titles = labels
    gap = GAP if width == CELL else 0
    names = [shortened(audit.cases[index], 14) for index in cases] if width == CELL else []
    top = 12 + 8 * max(map(len, names), default=0)
    cells: dict[str, list[str]] = {status.value: [] for status in Coverage}
    for column, case in enumerate(cases):
        for row, status in enumerate(audit.coverage[case]):
            x, y = left + column * (width + gap), top + row * (CELL + GAP)
            cells[status.value].append(glyph(status, x, y) if width == CELL else f"M{x} {y}h{width}v{CELL}h-{width}z")
    return Block(
        left + len(cases) * (width + gap) + 4,
        top + len(titles) * (CELL + GAP) + 2,
        left,
        top,
        [(left + column * (width + gap) + width / 2, name) for column, name in enumerate(names)],
        [(top + row * (CELL + GAP) + CELL / 2, title) for row, title in enumerate(titles)],
        {status: "".join(parts) for status, parts in cells.items() if parts},
    )
