"""Masks that don't lie on their CT's grid, written anew on it: by the header of the CT, or by resampling.

The source stays as it is. The new file lies in COHORT/fixed, with what was done beside it, and the ledger points to it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smiler.domain.amending import amend
from smiler.domain.cells import Cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.fetching import keeping
from smiler.domain.files import hash_json, write_json
from smiler.domain.geometry import Geometry
from smiler.domain.locks import writing
from smiler.domain.origin import as_note, origin_of
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.formats.base import some
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import Drawn, Grid, ReadOptions, content, read_header, read_labels

FOLDER = "fixed"
How = Literal["copy", "resample"]
HOW: Mapping[How, str] = {"copy": "the voxels are right", "resample": "the header is right"}


@dataclass(frozen=True)
class Fixed:
    """One mask file that was written anew."""

    case: str
    source: str
    path: str
    note: str


def fix_geometry(
    cohort: Cohort, how: How, reading: ReadOptions | None = None, progress: Progress | None = None
) -> list[Fixed]:
    """Bring every mask that lies elsewhere onto its CT's grid and save the ledger.

    copy: the voxels are right and the mask's header is wrong (sizes must be equal); resample: the header is right.
    What can't be read, or can't be copied, is left for the audit to name.
    """
    if how not in HOW:
        do = " or ".join(f"{name} ({meaning})" for name, meaning in HOW.items())
        raise BadInput("no such way to mend the geometry", where="--fix-geometry", got=repr(how), do=f"say {do}")
    reading = reading or ReadOptions()
    done: list[Fixed] = []
    with writing(cohort.folder):
        cohort = Cohort.open(cohort.folder)  # as it is now: somebody may have written since it was read
        cases = []
        for case in (progress or Silent()).track(cohort.cases, "checking geometry", len(cohort)):
            with keeping():
                fixed = list(_case(cohort, case, how, reading))
            done += fixed
            moved = {row.source: row.path for row in fixed}
            cases.append(case.with_cells({key: _moved(cell, moved) for key, cell in case.cells.items()}))
        if done:
            left = amend(cohort.folder, cohort, replace(cohort, cases=tuple(cases))).left
            done = [row for row in done if not _all_left(cohort, row, left)]
            if left and progress:
                progress.note(f"changed by others meanwhile, and left so: {some([' '.join(pair) for pair in left])}")
    return done


def _all_left(cohort: Cohort, row: Fixed, left: Collection[tuple[str, str]]) -> bool:
    """Whether every cell that named the file says something else by now: it stays as somebody wrote it meanwhile."""
    cells = cohort.case(row.case).cells
    return all((row.case, key) in left for key, cell in cells.items() if cell.path == row.source)


def _case(cohort: Cohort, case: Case, how: How, reading: ReadOptions) -> Iterator[Fixed]:
    try:
        grid = read_header(cohort.image_path(case), reading)
    except BadInput:
        return
    for source in dict.fromkeys(cell.path for cell in case.cells.values() if cell.path):
        try:
            drawn = read_labels(cohort.at(source), reading, grid.geometry)
        except BadInput:
            continue
        if drawn.grid.geometry.agrees(grid.geometry) or (how == "copy" and drawn.grid.shape != grid.shape):
            continue
        if how == "copy":  # by the files' own arrays: the mask's header, and so its canonical order, is what is wrong
            codes = np.ascontiguousarray(grid.canonical(drawn.grid.own(drawn.codes)))
        else:
            codes = nearest(drawn.codes, drawn.grid.geometry, grid.geometry)
            if not codes.any():  # it lies elsewhere altogether: another patient's mask?
                continue
        path = f"{FOLDER}/{case.id}.{_fingerprint(cohort, source, grid, how)}.nii.gz"
        yield _write(cohort, case, (source, path), replace(drawn, codes=codes), grid, how)


def _write(cohort: Cohort, case: Case, paths: tuple[str, str], drawn: Drawn, grid: Grid, how: How) -> Fixed:
    source, path = paths
    write_labels(cohort.folder / path, drawn.codes, grid)
    apart = drawn.grid.geometry.distance_mm(grid.geometry)
    note = f"{drawn.grid.geometry} to {grid.geometry} by {'header' if how == 'copy' else 'resampling'}"
    facts: dict[str, Any] = {"how": how, "from": str(drawn.grid.geometry), "to": str(grid.geometry), "case": case.id}
    facts["apart_mm"] = f"{apart:.4g}"
    about = (cohort.folder / path).with_name(Path(path).name.removesuffix(".nii.gz") + ".json")
    made = Provenance("fix-geometry", {"mask": content(cohort.at(source))}, facts)
    write_json(about, as_note(made) | {"organs": _notes(cohort, case, source, made)})
    return Fixed(case.id, source, path, note)


def _notes(cohort: Cohort, case: Case, source: str, made: Provenance) -> dict[str, Any]:
    """What is known of each organ's mask in the file, and who drew it: the new file is nobody else's."""
    found: dict[str, Any] = {}
    for key in (key for key, cell in case.cells.items() if cell.path == source):
        origin, was = origin_of(cohort, case, key)
        if was is not None:
            found[key] = as_note(replace(made, facts={**made.facts, "was": was}), origin)
    return found


def nearest(
    codes: NDArray[np.uint8] | NDArray[np.uint16], source: Geometry, target: Geometry
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Codes (z, y, x) on another grid by nearest neighbour, slice by slice; 0 where the source has no voxel."""
    out = np.zeros(target.shape, dtype=codes.dtype)
    step = np.linalg.inv(source.matrix) @ target.matrix
    y, x = np.meshgrid(np.arange(target.shape[1]), np.arange(target.shape[2]), indexing="ij")
    for z in range(target.shape[0]):
        at = step[:3, :3] @ np.stack([np.full(x.size, z), y.ravel(), x.ravel()]) + step[:3, 3:]
        index = np.rint(at).astype(np.int64)
        inside = ((index >= 0) & (index < np.array(source.shape)[:, None])).all(axis=0)
        plane = np.zeros(x.size, dtype=codes.dtype)
        plane[inside] = codes[tuple(index[:, inside])]
        out[z] = plane.reshape(x.shape)
    return out


def _moved(cell: Cell, moved: dict[str, str]) -> Cell:
    return replace(cell, path=moved.get(cell.path, cell.path)) if cell.path else cell


def _fingerprint(cohort: Cohort, source: str, grid: Grid, how: How) -> str:
    """Names what is made of which file, and how: no other mask gets this name, and no source is written over."""
    grids = [list(grid.geometry.shape), np.asarray(grid.geometry.affine).tolist()]
    return hash_json([source, content(cohort.at(source)), grids, how])[:32]
