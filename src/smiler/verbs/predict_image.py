"""Predict one image in three stages: read, compute, write; what is finished is not done again."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat

from smiler.domain.checks import check_choice, check_once
from smiler.domain.errors import BadInput, Faults
from smiler.domain.fetching import fetched
from smiler.domain.files import forget_unfinished, hash_json, remove, write_text
from smiler.domain.names import beside_pair
from smiler.domain.organs import OrganSet
from smiler.domain.provenance import Provenance
from smiler.domain.shaped import as_shape
from smiler.formats.dicom.client import rehearse_masks, write_masks
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
ABOUT = "provenance.json"
"""In an image's folder; written last."""
MARK = ".smiler-masks"
"""In a folder that a prediction began: what lies there may be written again."""


def labelmap_path(out: Path, name: str) -> Path:
    """Where an image's label map lies."""
    return out / f"{name}.nii.gz"


def probability_name(key: str, organs: OrganSet) -> str:
    """An organ's probability map; another name where an organ of the model is called so."""
    name = f"{key}_probability"
    return f"{beside_pair(key, 'probability') if name in organs else name}.nii.gz"


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

    def __post_init__(self) -> None:
        for kind in self.kinds:
            check_choice(kind, "--write", "kind of masks", KINDS)
        if not self.kinds:
            raise BadInput("no kind of masks", where="--write", do=f"choose among {', '.join(KINDS)}")
        check_once(self.organs, "--organs")


@dataclass(frozen=True)
class Predicted:
    """One finished image: its name, each organ's volume in ml, and what had to be decided to read it."""

    name: str
    volumes_ml: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
        working = to_working(self.model.facts.data, ct.hu, ct.geometry, self.where(item))
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
        files, mark = self.files(image.name), self.request.out / MARK
        if not mark.exists():
            write_text(mark, "masks of smiler predict\n")
        _forget(about, files, self.request.out)
        volumes = _write_masks(organs, made, self.request)
        _write_dicom(organs, made, self.request)
        if made.scores is not None:
            _write_probabilities(organs, image, made.scores, self.request)
        facts = {**self._facts, "volumes_ml": volumes, "notes": list(image.notes), "engine": made.engine}
        facts["files"] = [path.relative_to(self.request.out).as_posix() for path in files]
        Provenance("predict", image.parents, facts).save(about)
        return Predicted(image.name, volumes, image.notes)

    def _parents(self, path: Path) -> dict[str, str]:
        return {"image": content(path), **self.model.parents}

    def _finished(self, name: str, path: Path) -> Predicted | None:
        """What was made of the same image before, if all of it is there."""
        finished = _finished(name, self._about(name), self._parents(path), self._facts)
        whole = finished is not None and all(mask.exists() for mask in self.files(name))
        return finished if whole else None

    def files(self, name: str) -> list[Path]:
        """What is written for an image, besides its provenance."""
        request, folder = self.request, self.request.out / name
        masks = [folder / f"{key}.nii.gz" for key in self.organs]
        masks = [labelmap_path(request.out, name)] if request.labelmap else masks
        masks = masks if "nifti" in request.kinds else []
        masks += [folder / KINDS[kind] for kind in _dicom_kinds(request)]
        keys = self.organs if request.probabilities else ()
        return masks + [folder / probability_name(key, self.model.organs) for key in keys]

    def _about(self, name: str) -> Path:
        return self.request.out / name / ABOUT

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


@dataclass(frozen=True)
class TryMasks:
    """Write an image's DICOM masks on trial, (name, path): what is wrong with its headers is found before computing."""

    organs: OrganSet
    request: PredictRequest

    def __call__(self, item: tuple[str, Path]) -> tuple[BadInput, ...]:
        """Why they can't be written; empty if they can."""
        keys = [key for key in self.organs.keys if key in (self.request.organs or self.organs.keys)]
        try:
            with fetched(item[1]) as series:
                for kind in _dicom_kinds(self.request):
                    rehearse_masks(series, segments_of(self.organs, keys, "AUTOMATIC"), kind)
        except BadInput as error:
            return error.faults if isinstance(error, Faults) else (error,)
        return ()

    def where(self, item: tuple[str, Path]) -> str:
        """How an error names it."""
        return f"image {item[0]!r}, file {item[1]}"


def _footprint(request: PredictRequest, organs: int) -> Footprint:
    """Bits and two masks, or what is copied for DICOM, or an organ's map; the image, and scores in half precision."""
    if request.probabilities:
        return Footprint(20, 2 + 2 * organs)
    return Footprint(12 if _dicom_kinds(request) else 10, 2)


def _forget(about: Path, files: Sequence[Path], out: Path) -> None:
    """Without its note an image is not finished; what an earlier prediction wrote and this one doesn't write goes."""
    old = Provenance.read(about)
    remove(about)
    for path in (about, *files):
        forget_unfinished(path)
    if old is not None and old.made_by == "predict":
        ours = (".nii.gz", *(end for end in KINDS.values() if end != ".nii.gz"))
        written = [path for path in about.parent.iterdir() if path.name.endswith(ours)]
        labelmap = labelmap_path(out, about.parent.name)
        if labelmap.name in as_shape(old.facts.get("files", []), list[str], f"{about}, facts.files"):
            written.append(labelmap)
        for path in written:
            if path not in files:
                remove(path)


def _finished(name: str, about: Path, parents: Mapping[str, str], facts: Mapping[str, Any]) -> Predicted | None:
    """What was made of an image that was predicted with the same inputs before."""
    old = Provenance.read(about)
    if old is None or old.parents != parents or any(old.facts.get(key) != value for key, value in facts.items()):
        return None
    volumes = as_shape(old.facts.get("volumes_ml"), dict[str, FiniteFloat], f"{about}, facts.volumes_ml")
    return Predicted(name, volumes, as_shape(old.facts.get("notes", ()), tuple[str, ...], f"{about}, facts.notes"))


def _fingerprint(request: PredictRequest) -> str:
    return hash_json(
        [
            request.labelmap,
            sorted(request.kinds),
            request.probabilities,
            request.options.model_dump(),
            request.reading.model_dump(mode="json"),
        ]
    )


def _write_masks(organs: OrganSet, made: _Masks, request: PredictRequest) -> dict[str, float]:
    """The masks, or the label map; two organs at a time. Returns volumes in ml."""
    keys, grid, name = request.organs or organs.keys, made.image.grid, made.image.name
    if request.labelmap and "nifti" in request.kinds:
        write_labels(labelmap_path(request.out, name), _labelmap(organs, made.bits, keys), grid)
    alone = "nifti" in request.kinds and not request.labelmap

    def write(key: str) -> float:
        mask = mask_of(made.bits, organs.index(key))
        if alone:
            write_labels(request.out / name / f"{key}.nii.gz", mask, grid)
        return float(np.count_nonzero(mask)) * grid.geometry.voxel_ml

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
        path = request.out / image.name / probability_name(organs.keys[k], organs)
        write_probability(path, native, image.grid)
