"""A phantom cohort on disk: synthetic CT with a label map each, every organ annotated or absent."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from smiler.domain.cells import ABSENT, Cell, annotated
from smiler.domain.checks import check_number
from smiler.domain.cohort import LEDGER, MANIFEST, Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.folders import Kind, refuse_others
from smiler.domain.geometry import Geometry
from smiler.domain.ledger import manifest_text
from smiler.domain.locks import writing
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.formats.anatomy import organ_of
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.phantom import ORGANS, PhantomOptions, generate

Size = tuple[int, int, int]
MOST_CASES = 100_000
SMALLEST, LONGEST = (8, 32, 32), 1024


def make_phantom_cohort(
    folder: Path, cases: int, size: Size, seed: int = 0, progress: Progress | None = None
) -> Cohort:
    """Make `cases` synthetic patients of `size` (z, y, x) voxels in two processes; the ledger is written last."""
    check_number(cases, "--cases", 1, MOST_CASES, whole=True)
    check_number(seed, "--seed", 0, whole=True)
    _check_size(size, "x".join(map(str, size)))
    jobs = [(folder, f"phantom{i:03d}", size, seed * 100003 + i) for i in range(cases)]
    organs = OrganSet(tuple(organ_of(organ.key, {o.key for o in ORGANS}) for organ in ORGANS))
    empty = Cohort(folder, organs, (), "phantom")
    with writing(folder):
        _check_place(empty)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            made = list((progress or Silent()).track(pool.map(_make_case, jobs), "making phantoms", cases))
        cohort = replace(empty, cases=tuple(made))
        cohort.save()
    return cohort


def _check_place(cohort: Cohort) -> None:
    """BadInput where something lies already; one that was killed before its ledger came is made again."""
    manifest = cohort.folder / MANIFEST
    other = manifest.exists() and manifest.read_text(encoding="utf-8") != manifest_text(cohort)
    if other or (cohort.folder / LEDGER).exists():
        raise BadInput("a cohort is here already", where=str(cohort.folder), do="choose another folder")
    refuse_others(cohort.folder, Kind.COHORT)


def parse_size(text: str) -> Size:
    """'40x128x128' as (z, y, x)."""
    try:
        z, y, x = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise BadInput("not a size", where="--size", got=repr(text), do="write it as 40x128x128 (z, y, x)") from error
    _check_size((z, y, x), text)
    return z, y, x


def _check_size(size: Size, text: str) -> None:
    if any(not low <= length <= LONGEST for low, length in zip(SMALLEST, size, strict=True)):
        do = f"at least {'x'.join(map(str, SMALLEST))}, at most {LONGEST} an axis"
        raise BadInput("the size is out of range", where="--size", got=text, do=do)


def _make_case(job: tuple[Path, str, Size, int]) -> Case:
    folder, name, size, seed = job
    phantom = generate(seed, PhantomOptions(shape=size))
    geometry = Geometry.canonical(phantom.hu.shape, phantom.spacing)
    labels = np.zeros(phantom.hu.shape, dtype=np.uint8)
    cells: dict[str, Cell] = {}
    for value, organ in enumerate(ORGANS, start=1):
        labels[phantom.masks[organ.key]] = value
        own = [value, *(n for n, other in enumerate(ORGANS, start=1) if other.part_of == organ.key)]
        present = [n for n in own if phantom.masks[ORGANS[n - 1].key].any()]
        path = f"labels/{name}.nii.gz"
        cells[organ.key] = ABSENT if organ.key in phantom.absent else annotated(path, present)
    write_ct(folder / "images" / f"{name}.nii.gz", phantom.hu, geometry)
    write_labels(folder / "labels" / f"{name}.nii.gz", labels, grid_of(geometry))
    return Case(name, name, f"images/{name}.nii.gz", cells)
