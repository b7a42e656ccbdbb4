"""Cases that are the same CT: the same voxels under two ids, whatever the files are called and however compressed."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.formats.base import some
from smiler.formats.volumes import ReadOptions, read_ct, read_header


def duplicates(
    cohort: Cohort,
    geometries: Mapping[str, Geometry],
    reading: ReadOptions,
    new: Collection[str] = (),
) -> Iterator[tuple[str, ...]]:
    """Groups of cases with equal voxels. Only cases of equal size and spacing are read, and one at a time.

    geometries: by case id. new: only groups with one of these are looked for, if any.
    """
    alike: dict[tuple[float, ...], list[str]] = defaultdict(list)
    for case, geometry in geometries.items():
        alike[*sorted(geometry.shape), *sorted(round(v, 3) for v in geometry.spacing)].append(case)
    for cases in alike.values():
        if len(cases) > 1 and (not new or not set(new).isdisjoint(cases)):
            yield from _same(cohort, cases, reading, new)


def _same(
    cohort: Cohort, cases: Sequence[str], reading: ReadOptions, new: Collection[str]
) -> Iterator[tuple[str, ...]]:
    by_voxels: dict[bytes, list[str]] = defaultdict(list)
    for case in cases:
        try:
            hu = read_ct(cohort.image_path(cohort.case(case)), reading).hu
        except BadInput:  # told elsewhere
            continue
        if hu.min() == hu.max():  # an empty image is nobody's
            continue
        by_voxels[_voxels(hu)].append(case)
    for group in by_voxels.values():
        if len(group) > 1 and (not new or not set(new).isdisjoint(group)):
            yield tuple(group)


def _voxels(hu: NDArray[np.int16]) -> bytes:
    digest = hashlib.blake2b(str(hu.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(hu).data)
    return digest.digest()


def geometries_of(cohort: Cohort, reading: ReadOptions) -> dict[str, Geometry]:
    """Geometry of every case that can be read."""
    found = {}
    for case in cohort:
        try:
            found[case.id] = read_header(cohort.image_path(case), reading).geometry
        except BadInput:  # told by the audit
            continue
    return found


def told(cohort: Cohort, group: Sequence[str]) -> str:
    """One sentence about a group."""
    patients = {cohort.case(case).patient for case in group}
    advice = "give them one patient in cases.csv, or remove all but one" if len(patients) > 1 else "remove all but one"
    return f"cases {some(group)}: the same CT, voxel by voxel; {advice}"
