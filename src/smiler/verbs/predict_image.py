"""Predict one image in three stages: read, compute, write; what is finished is not done again."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat

from smiler.domain.fetching import fetched
from smiler.domain.files import forget_unfinished, hash_json, remove
from smiler.domain.organs import OrganSet
from smiler.domain.provenance import Provenance
from smiler.domain.shaped import as_shape
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import segments_of
from smiler.formats.nifti import write_labels, write_probability
from smiler.formats.volumes import Grid, ReadOptions, content, read_hu
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Gathered, Prediction
from smiler.prediction.volume import WorkingImage, kept_bits, mask_of, to_working, working_bits
from smiler.store.resample import Resampler
from smiler.verbs.footprint import Footprint
from smiler.verbs.model_at import ModelAt, opened
from smiler.workers.base import Staged

KINDS = {"nifti": ".nii.gz", "dicom-seg": "organs_seg.dcm", "rtstruct": "organs_rtstruct.dcm"}
"""What masks can be written as, and how the files of the DICOM kinds are called."""


@dataclass(frozen=True)
class PredictRequest:
    """What to write for each image. `organs` empty: all that the model knows. kinds: of KINDS."""

    out: Path
    organs: tuple[str, ...] = ()
    labelmap: bool = False
    kinds: tuple[str, ...] = ("nifti",)
    probabilities: bool = False
    options: PredictionOptions = PredictionOptions()
    reading: ReadOptions = ReadOptions()


@dataclass(frozen=True)
class Predicted:
    """One finished image: its name and each organ's volume in ml."""

    name: str
    volumes_ml: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Image:
    """An image without its voxels: what it is called, where it is from, and the grid that its masks will lie on."""

    name: str
    path: Path
    parents: Mapping[str, str]
    grid: Grid
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """An image on the working grid."""

    image: _Image
    working: WorkingImage


@dataclass(frozen=True)
class _Masks:
    """What the network found in an image: a bit field (z, y, x), and the scores of probability maps if wanted."""

    image: _Image
    bits: NDArray[np.int32]
    scores: Prediction | None
    engine: str


@dataclass(frozen=True)
class PredictImage(Staged[tuple[str, Path], _Read | Predicted, _Masks | Predicted, Predicted]):
    """Predict one image, (name, path): the work of `predict`. One that is finished passes as it is."""

    model: Model | ModelAt
    request: PredictRequest

    @property
    def organs(self) -> tuple[str, ...]:
        """Whose masks are wanted."""
        return self.request.organs or self.model.organs.keys

    def read(self, item: tuple[str, Path]) -> _Read | Predicted:
        """The CT on the working grid; the CT as it is isn't needed any more."""
        name, path = item
        if self._about(name).exists() and (finished := self._finished(name, path)):
            return finished
        ct = read_hu(path, self.request.reading, self.where(item))
        parents = self._parents(path)
        working = to_working(self.model.facts.data, ct.hu, ct.geometry)
        return _Read(_Image(name, path, parents, ct.grid, ct.notes), working)

    def compute(self, read: _Read | Predicted) -> _Masks | Predicted:
        """All that needs the network."""
        if isinstance(read, Predicted):
            return read
        model, options, working = opened(self.model), self.request.options, read.working
        native = read.image.grid.geometry
        if not self.request.probabilities:
            return _Masks(read.image, working_bits(model, working, native, options), None, model.engine)
        channels = tuple(model.organs.index(key) for key in self.organs)
        gathered = Gathered(channels, working.geometry, model.made_by)
        bits = kept_bits(model, working, native, options, gathered)
        return _Masks(read.image, bits, gathered.prediction(), model.engine)

    def write(self, made: _Masks | Predicted) -> Predicted:
        """The files, and last the note that they are complete."""
        if isinstance(made, Predicted):
            return made
        image, organs, about = made.image, self.model.organs, self._about(made.image.name)
        _forget(about, image.name, self.request, self.organs)
        volumes = _write_masks(organs, made, self.request)
        _write_dicom(organs, made, self.request)
        if made.scores is not None:
            _write_probabilities(organs, image, made.scores, self.request)
        facts = {**self._facts, "volumes_ml": volumes, "notes": list(image.notes), "engine": made.engine}
        Provenance("predict", image.parents, facts).save(about)
        return Predicted(image.name, volumes)

    def _parents(self, path: Path) -> dict[str, str]:
        return {"image": content(path), "model": self.model.made_by}

    def _finished(self, name: str, path: Path) -> Predicted | None:
        """What was made of the same image before, if all of it is there."""
        finished = _finished(self._about(name), self._parents(path), self._facts)
        whole = finished is not None and all(mask.exists() for mask in _files(name, self.request, self.organs))
        return Predicted(name, finished) if finished is not None and whole else None

    def _about(self, name: str) -> Path:
        return self.request.out / name / "provenance.json"

    @property
    def _facts(self) -> dict[str, Any]:
        """What an image that is finished was predicted with."""
        return {"organs": list(self.organs), "request": _fingerprint(self.request)}

    def memory(self, item: tuple[str, Path]) -> int:
        """About how many bytes it takes, without the network's own."""
        return _footprint(self.request, len(self.organs)).of(item[1], self.request.reading, self.model.facts.data)

    def where(self, item: tuple[str, Path]) -> str:
        """How an error names it."""
        return f"image {item[0]!r}, file {item[1]}"


def _footprint(request: PredictRequest, organs: int) -> Footprint:
    """Bits and two masks, or what is copied for DICOM, or an organ's map; the image, and scores in half precision."""
    if request.probabilities:
        return Footprint(20, 2 + 2 * organs)
    return Footprint(12 if _dicom_kinds(request) else 10, 2)


def _forget(about: Path, name: str, request: PredictRequest, organs: Sequence[str]) -> None:
    """Without its note an image is not finished; what an earlier prediction wrote and this one doesn't write goes."""
    old = Provenance.read(about)
    remove(about)
    for path in (about, *_files(name, request, organs)):
        forget_unfinished(path)
    if old is not None and old.made_by == "predict":
        wanted = set(_files(name, request, organs))
        for path in (request.out / name).iterdir():
            if (
                path.name.endswith((".nii.gz", *(end for end in KINDS.values() if end != ".nii.gz")))
                and path not in wanted
            ):
                remove(path)


def _finished(about: Path, parents: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, float] | None:
    """The volumes of an image that was predicted with the same inputs before."""
    old = Provenance.read(about)
    if old is None or old.parents != parents or any(old.facts.get(key) != value for key, value in facts.items()):
        return None
    return as_shape(old.facts.get("volumes_ml"), dict[str, FiniteFloat], f"{about}, facts.volumes_ml")


def _files(name: str, request: PredictRequest, organs: Sequence[str]) -> list[Path]:
    """What is written for an image, besides its provenance."""
    folder = request.out / name
    masks = [request.out / f"{name}.nii.gz"] if request.labelmap else [folder / f"{key}.nii.gz" for key in organs]
    masks = masks if "nifti" in request.kinds else []
    masks += [folder / KINDS[kind] for kind in _dicom_kinds(request)]
    return masks + [folder / f"{key}_probability.nii.gz" for key in organs if request.probabilities]


def _fingerprint(request: PredictRequest) -> str:
    return hash_json(
        [
            request.labelmap,
            sorted(request.kinds),
            request.probabilities,
            request.options.model_dump(),
            request.reading.deciding,
        ]
    )


def _write_masks(organs: OrganSet, made: _Masks, request: PredictRequest) -> dict[str, float]:
    """The masks, or the label map; two organs at a time. Returns volumes in ml."""
    keys, grid, name = request.organs or organs.keys, made.image.grid, made.image.name
    if request.labelmap and "nifti" in request.kinds:
        write_labels(request.out / f"{name}.nii.gz", _labelmap(organs, made.bits, keys), grid)
    alone = "nifti" in request.kinds and not request.labelmap

    def write(key: str) -> float:
        mask = mask_of(made.bits, organs.index(key))
        if alone:
            write_labels(request.out / name / f"{key}.nii.gz", mask, grid)
        return round(float(np.count_nonzero(mask)) * grid.geometry.voxel_ml, 3)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(keys, pool.map(write, keys), strict=True))


def _labelmap(organs: OrganSet, bits: NDArray[np.int32], keys: Sequence[str]) -> NDArray[np.uint8]:
    """Organ k as k + 1, uint8 (z, y, x); a part is drawn over its whole."""
    flat = np.zeros(bits.shape, dtype=np.uint8)
    for key in sorted(keys, key=lambda key: len(organs.wholes(key))):
        k = organs.index(key)
        flat[mask_of(bits, k) > 0] = k + 1
    return flat


def _write_dicom(organs: OrganSet, made: _Masks, request: PredictRequest) -> None:
    """One object an image with all its organs; a segment without a voxel says that the organ was not found."""
    image, keys = made.image, [key for key in organs.keys if key in (request.organs or organs.keys)]
    for kind in _dicom_kinds(request):
        chosen = np.zeros_like(made.bits)
        for i, key in enumerate(keys):
            chosen |= (made.bits >> organs.index(key) & 1) << np.int32(i)
        segments = segments_of(organs, keys, "AUTOMATIC")
        with fetched(image.path) as series:
            write_masks(request.out / image.name / KINDS[kind], series, chosen, image.grid, segments, kind)


def _dicom_kinds(request: PredictRequest) -> list[str]:
    return [kind for kind in request.kinds if kind != "nifti"]


def _write_probabilities(organs: OrganSet, image: _Image, prediction: Prediction, request: PredictRequest) -> None:
    """One organ after the other at full resolution; only half-precision scores on the working grid are kept."""
    resampler = Resampler(prediction.geometry.shape, image.grid.geometry.shape)
    for score, k in zip(prediction.score, prediction.channels, strict=True):
        native: NDArray[Any] = resampler.volume(score)
        native = (1 / (1 + np.exp(-np.clip(native, -30, 30)))).astype(np.float16)
        write_probability(request.out / image.name / f"{organs.keys[k]}_probability.nii.gz", native, image.grid)
