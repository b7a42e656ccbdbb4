"""The store: every case of a cohort on its working grid, built once and keyed by content and options."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat

from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.domain.evidence import UNSEEN
from smiler.domain.fetching import keeping
from smiler.domain.files import hash_json, write_json
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.domain.shaped import read_as
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.volumes import ReadOptions, read_hu
from smiler.store.arrays import Room, open_array, save_array
from smiler.store.grey_scale import GreyScale
from smiler.store.hashes import Hashes
from smiler.store.options import DataOptions
from smiler.store.resample import Resampler, working_geometry
from smiler.workers.cores import own_cores
from smiler.workers.memory import available_bytes, lacking

VERSION = 3
MOST_THREADS, CASE_BYTES = 32, 2 << 30
"""Threads that bring cases to the grid: at most these, and for each so much memory as a CT of 512x512x600 takes."""


@dataclass(frozen=True)
class StoreOptions:
    """How cases are read and brought to the working grid."""

    data: DataOptions = DataOptions()
    reading: ReadOptions = ReadOptions()
    labels: LabelOptions = LabelOptions()


@dataclass(frozen=True)
class StoredCase:
    """One case on its working grid (z, y, x).

    `image`: int16, HU in the window or hundredths of z-scores; `drawn`: int32, bit k where an expert drew organ k;
    `known`: int32 (z,), bit k on the slices where an expert's word about organ k counts. `voxels`: (z, K) drawn voxels
    a slice. `moments`: count, sum and sum of squares of the values of drawn voxels. `notes`: what was decided while the
    CT was read. `room`: memory in which voxels may stay once they are read. `content`: hash of the CT as it was given.
    """

    case: Case
    geometry: Geometry
    folder: Path
    image_key: str
    label_key: str
    known: NDArray[np.int32]
    voxels: NDArray[np.int64]
    moments: tuple[float, float, float]
    notes: tuple[str, ...] = ()
    room: Room = field(default=Room(0), compare=False, repr=False)
    content: str = ""

    @cached_property
    def image(self) -> Any:
        """HU on disk, read by the slice, or in memory."""
        return self.room.hold(open_array(self.folder / f"{self.image_key}.b2nd"))

    @cached_property
    def drawn(self) -> Any:
        """Expert masks on disk, read by the slice, or in memory."""
        return self.room.hold(open_array(self.folder / f"{self.label_key}.b2nd"))


@dataclass(frozen=True)
class Store:
    """All cases of a cohort, ready to be sampled."""

    organs: OrganSet
    data: DataOptions
    cases: tuple[StoredCase, ...]

    def __iter__(self) -> Iterator[StoredCase]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __bool__(self) -> bool:
        raise TypeError("a store may be there without a case: ask `is None`, or `.cases`")

    def in_memory(self, size: int) -> "Store":
        """The same store, which keeps up to `size` bytes of voxels in memory from their first use on."""
        room = Room(size)
        return replace(self, cases=tuple(replace(case, room=room) for case in self.cases))

    @cached_property
    def normalisation(self) -> tuple[float, float]:
        """Mean and standard deviation of windowed HU over voxels that experts drew, never over unknown ones."""
        count, total, squares = np.sum([case.moments for case in self.cases], axis=0)
        if count < 1:
            raise BadInput("no expert mask in any case: nothing to learn from", where="cohort")
        mean = total / count
        return float(mean), float(np.sqrt(max(squares / count - mean**2, 1.0)))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that training can see through this store."""
        return hash_json([[case.case.id, case.image_key, case.label_key] for case in self.cases])


def build_store(
    cohort: Cohort, cache: Path, options: StoreOptions | None = None, progress: Progress | None = None
) -> Store:
    """Bring every case to the working grid; entries that are there already and still match are kept.

    Every fault of every case is listed at once.
    """
    options = options or StoreOptions()
    faults: list[BadInput] = []
    stored: list[StoredCase] = []

    def build(case: Case) -> StoredCase | BadInput:
        try:
            with keeping(), lacking(f"case {case.id}, file {case.image}"):
                return _stored_case(cohort, case, cache, options)
        except Faults as error:
            return error
        except BadInput as error:
            named = error.where if case.id in error.where else f"case {case.id}, {error.where}"
            return BadInput(error.what, where=named, got=error.got, do=error.do)

    threads = max(1, min(MOST_THREADS, max(2, own_cores()), available_bytes() // 2 // CASE_BYTES))
    with ThreadPoolExecutor(threads) as pool, lacking("reading volumes"):
        built = pool.map(build, cohort.cases)
        for result in (progress or Silent()).track(built, "reading volumes", len(cohort)):
            (faults if isinstance(result, BadInput) else stored).append(result)  # type: ignore[arg-type]
    raise_all(faults)
    return Store(cohort.organs, options.data, tuple(stored))


def _stored_case(cohort: Cohort, case: Case, cache: Path, options: StoreOptions) -> StoredCase:
    hashes = Hashes(cache / "hashes")
    image_hash = hashes.of(cohort.image_path(case))
    image_key, label_key = _keys(cohort, case, options, image_hash, hashes)
    about = cache / f"{label_key}.json"
    ready = all((cache / f"{key}.b2nd").exists() for key in (image_key, label_key))
    entry = _read_entry(about, len(cohort.organs)) if ready else None
    if entry is None:
        _build(cohort, case, (cache / image_key, cache / label_key), options)
        entry = read_as(about, _Entry)
    return StoredCase(
        case,
        Geometry.of(entry.shape, entry.affine),
        cache,
        image_key,
        label_key,
        np.asarray(entry.known, dtype=np.int32),
        np.asarray(entry.voxels, dtype=np.int64).reshape(-1, len(cohort.organs)),
        entry.moments,
        entry.notes,
        content=image_hash,
    )


@dataclass(frozen=True)
class _Entry:
    """What lies beside a case's arrays; without `notes` nobody has asked yet whether its CT is in HU."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[FiniteFloat, ...], ...]
    known: tuple[int, ...]
    voxels: tuple[tuple[int, ...], ...]
    moments: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    notes: tuple[str, ...]


def _read_entry(about: Path, organs: int) -> _Entry | None:
    """The entry of a case that is on the grid already; None for what must be made again."""
    try:
        entry = read_as(about, _Entry)
        Geometry.of(entry.shape, entry.affine)
    except BadInput:
        return None
    whole = len(entry.known) == len(entry.voxels) == entry.shape[0] and {*map(len, entry.voxels)} == {organs}
    return entry if whole else None


def _keys(cohort: Cohort, case: Case, options: StoreOptions, image_hash: str, hashes: Hashes) -> tuple[str, str]:
    image = {
        "version": VERSION,
        "content": image_hash,
        "data": options.data.model_dump(mode="json"),
        "reading": options.reading.model_dump(mode="json"),
    }
    cells = {}
    for key in cohort.organs.keys:
        cell = case.cell(key)
        drawn = hashes.of(cohort.mask_path(case, key)) if cell.path else ""
        cells[key] = [
            cell.status.value,
            cell.auto,
            drawn,
            list(cell.labels),
            cell.ignored,
            [str(part) for part in cell.ranges],
        ]
    image_key = hash_json(image)[:32]
    relations = {organ.key: [organ.part_of, sorted(organ.overlaps)] for organ in cohort.organs}
    labels = {"image": image_key, "cells": cells, "organs": relations, "order": list(cohort.organs.keys)}
    labels |= {"labels": options.labels.model_dump(mode="json")}
    return f"image-{image_key}", f"labels-{hash_json(labels)[:32]}"


def _build(cohort: Cohort, case: Case, places: tuple[Path, Path], options: StoreOptions) -> None:
    """Write image and labels to these places, less their endings."""
    image_place, label_place = places
    ct = read_hu(cohort.image_path(case), options.reading)
    labels = read_case_labels(cohort, case, ct.geometry, options.labels)
    data = options.data
    working = working_geometry(ct.geometry, data.spacing_zyx_mm)
    resampler = Resampler(ct.geometry.shape, working.shape)
    image = GreyScale.of(ct.hu, data, f"file {case.image}")(resampler.volume(ct.hu))
    drawn, voxels = resample_bits(labels.drawn, resampler, len(cohort.organs))
    known = _known_slices(labels.known, resampler)
    drawn &= known[:, None, None]
    drawn[_unseen(labels.drawn, resampler)] = np.int32(-(1 << UNSEEN))
    voxels *= known[:, None] >> np.arange(len(cohort.organs)) & 1
    save_array(image_place.with_suffix(".b2nd"), image)
    save_array(label_place.with_suffix(".b2nd"), drawn)
    hu = image[drawn > 0].astype(np.float64)
    about = {
        "shape": working.shape,
        "affine": working.affine,
        "known": known.tolist(),
        "voxels": voxels.tolist(),
        "moments": [float(hu.size), float(hu.sum()), float((hu**2).sum())],
        "notes": ct.notes,
    }
    write_json(label_place.with_suffix(".json"), about)


def resample_bits(
    bits: NDArray[np.int32], resampler: Resampler, organs: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """A bit field on another grid, organ by organ, and the voxels (z, K) of each organ a slice."""
    out = np.zeros(resampler.target, dtype=np.int32)
    voxels = np.zeros((resampler.target[0], organs), dtype=np.int64)
    present = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
    for k in range(organs):
        if present >> k & 1:
            mask = resampler.mask((bits >> k & 1).astype(bool))
            voxels[:, k] = mask.sum(axis=(1, 2))
            out |= mask.astype(np.int32) << np.int32(k)
    return out, voxels


def _unseen(bits: NDArray[np.int32], resampler: Resampler) -> NDArray[np.bool_]:
    """Working voxels of which some part was seen by nobody."""
    unseen = bits < 0
    if not unseen.any():
        return np.zeros(resampler.target, dtype=bool)
    return resampler.volume(unseen.astype(np.float32)) > LEAST_PART


LEAST_PART = 1e-4


def _known_slices(known: NDArray[np.int32], resampler: Resampler) -> NDArray[np.int32]:
    """A working slice is known where every file slice that it is made of is."""
    spans: Sequence[tuple[int, int]] = [resampler.needed(z, z + 1) for z in range(resampler.target[0])]
    return np.array([np.bitwise_and.reduce(known[first:last]) for first, last in spans], dtype=np.int32)
