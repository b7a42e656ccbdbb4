"""Hide annotations of a complete cohort: nested over alpha, a fixed count per organ, the truth sealed apart."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from smiler.domain.cells import UNANNOTATED, Cell, Status, annotated
from smiler.domain.checks import check_number
from smiler.domain.cohort import LEDGER, MANIFEST, Case, Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.fetching import keeping
from smiler.domain.files import hash_json, write_json, write_text
from smiler.domain.folders import Kind, kinds_in, refuse_others
from smiler.domain.ledger import ledger_text, manifest_text
from smiler.domain.locks import writing
from smiler.domain.names import pair_name, share_name
from smiler.domain.origin import origin_of, take_along
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance, beside
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import read_header, read_labels

MARK = ".smiler-hide"
"""In OUT/cohort from the beginning: of which cohort, how much, with which seed."""


def hide(cohort: Cohort, out: Path, alpha: float, seed: int = 0, progress: Progress | None = None) -> Cohort:
    """Make OUT/cohort with a share alpha of the annotations gone, and OUT/truth, sealed, with all of them.

    The masks that stay are copied one by one, so that no file of OUT/cohort holds a hidden organ.
    """
    check_number(alpha, "--alpha", 0, 1)
    check_number(seed, "--seed", 0, whole=True)
    kept, folder = kept_pairs(cohort, alpha, seed), out / "cohort"
    sealed = tuple(relocate(cohort, case, out / "truth") for case in cohort)
    truth = replace(cohort, folder=out / "truth", cases=sealed, sealed=True)
    with writing(out):
        _check_place(out, truth, _asked(cohort, alpha, seed))
        write_text(folder / MARK, _asked(cohort, alpha, seed))
        cases = []
        for case in (progress or Silent()).track(cohort, "hiding annotations", len(cohort)):
            with keeping():
                cases.append(_hide_case(cohort, case, folder, kept))
        truth.save()
        name = f"{cohort.name} alpha {share_name(alpha)}".strip()
        hidden = replace(cohort, folder=folder, cases=tuple(cases), name=name)
        hidden.save()
        for made in (hidden, truth):
            take_along(cohort, made)
        Provenance("hide", {}, {"alpha": alpha, "seed": seed, "kept": len(kept)}).save(folder / "provenance.json")
    return hidden


def _asked(cohort: Cohort, alpha: float, seed: int) -> str:
    return f"{alpha!r} {seed} {hash_json(sorted(ledger_text(cohort).splitlines()))}\n"


def _check_place(out: Path, truth: Cohort, asked: str) -> None:
    """BadInput where a cohort lies, or the rest of another hiding, whose masks would stay beside these.

    One that was stopped is done again.
    """
    folder, do = out / "cohort", "choose another folder"
    if (folder / LEDGER).exists():
        raise BadInput("a hidden cohort is here already", where=str(out), do=do)
    refuse_others(folder, Kind.COHORT, do=do)
    begun = (folder / MARK).read_text(encoding="utf-8") if (folder / MARK).exists() else ""
    if begun != asked and folder.exists() and any(folder.iterdir()):
        raise BadInput("something else lies where the hidden cohort would", where=str(folder), do=do)
    if kinds_in(truth.folder):
        texts = {MANIFEST: manifest_text(truth), LEDGER: ledger_text(truth)}
        there = {name: path.read_text(encoding="utf-8") for name in texts if (path := truth.folder / name).exists()}
        if not begun or any(texts[name] != text for name, text in there.items()):
            raise BadInput("a cohort lies where the truth would be sealed", where=str(truth.folder), do=do)


def kept_pairs(cohort: Cohort, alpha: float, seed: int) -> frozenset[tuple[str, str]]:
    """(case, organ) pairs that stay: of each organ's N known pairs the round((1 - alpha) N) (at least one) drawn first.

    One draw a pair, whatever alpha: what is hidden at a lower alpha is hidden at a higher one too. A pair with voxels
    comes first, so that no organ is left with nothing but `absent`.
    """
    kept: set[tuple[str, str]] = set()
    for key in cohort.organs.keys:
        known = [case for case in cohort if case.status(key) is not Status.UNANNOTATED]
        order = sorted(known, key=lambda case: _draw(seed, case.id, key))
        first = next((case for case in order if case.status(key) is Status.ANNOTATED), None)
        if first is not None:
            order.remove(first)
            order.insert(0, first)
        kept |= {(case.id, key) for case in order[: max(1, round((1 - alpha) * len(known)))]}
    return frozenset(kept)


def _draw(seed: int, case: str, organ: str) -> float:
    entropy = (seed, zlib.crc32(case.encode()), zlib.crc32(organ.encode()))
    return float(np.random.default_rng(np.random.SeedSequence(entropy)).random())


def _hide_case(cohort: Cohort, case: Case, folder: Path, kept: frozenset[tuple[str, str]]) -> Case:
    moved = relocate(cohort, case, folder)
    cells: dict[str, Cell] = {}
    for key, cell in case.cells.items():
        if (case.id, key) not in kept:
            cells[key] = UNANNOTATED
        elif cell.status is Status.ANNOTATED:
            cells[key] = _copy_mask(cohort, case, key, folder)
    return moved.with_cells(cells)


def _copy_mask(cohort: Cohort, case: Case, key: str, folder: Path) -> Cell:
    cell = case.cell(key)
    geometry = read_header(cohort.image_path(case)).geometry
    drawn = read_labels(cohort.mask_path(case, key), geometry=geometry)
    name = f"labels/{pair_name(case.id, key)}.nii.gz"
    mask = drawn.mask(cell.labels)
    origin, note = origin_of(cohort, case, key)
    if note is not None:
        write_json(folder / beside(name), {**note, "origin": origin})
    if cell.ignored:
        write_labels(folder / name, mask + 2 * drawn.mask([cell.ignored]), drawn.grid)
        return annotated(name, (1,), cell.ranges, 2)
    write_labels(folder / name, mask, drawn.grid)
    return annotated(name, (), cell.ranges)
