"""Predict CT files: masks on each file's own grid, volumes in ml, provenance; what is finished is not done again."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import MANIFEST, Cohort
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.fetching import fetched
from smiler.domain.files import forget_unfinished, hash_json, read_json, write_json, write_text
from smiler.domain.organs import OrganSet
from smiler.domain.places import exists
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.domain.remote import Remote
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import segments_of
from smiler.formats.nifti import write_labels, write_probability
from smiler.formats.volumes import CT, Grid, ReadOptions, content, is_nifti, read_ct
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import predict_working
from smiler.prediction.volume import mask_of, predict_bits, to_working
from smiler.store.resample import Resampler
from smiler.verbs.model_at import ModelAt, opened
from smiler.workers.base import InProcess, Workers

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
class PredictImage:
    """Predict one image, (name, path): the work of `predict`."""

    model: Model | ModelAt
    request: PredictRequest

    def __call__(self, item: tuple[str, Path]) -> Predicted:
        """Predict it, or see that it is finished."""
        return _predict_one(self.model, *item, self.request)

    def where(self, item: tuple[str, Path]) -> str:
        """How an error names it."""
        return f"image {item[0]!r}, file {item[1]}"


def predict(
    model: Model | ModelAt,
    images: Sequence[Path],
    request: PredictRequest,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> list[Predicted]:
    """Predict every image (NIfTI files, DICOM folders or zip files, or cohort folders: all their cases).

    Names, organs and kinds are checked first. Workers in other processes need a ModelAt: they open it themselves.
    """
    for key in request.organs:
        model.organs.index(key)
    named = named_images(images)
    _check_kinds(request.kinds, named)
    results = (workers or InProcess()).map(PredictImage(model, request), named.items())
    done = list((progress or Silent()).track(results, "predicting", len(named)))
    write_text(request.out / "volumes.csv", _volumes_table(done, request.organs or model.organs.keys))
    if request.labelmap:
        write_json(request.out / "labels.json", {key: k + 1 for k, key in enumerate(model.organs.keys)})
    return done


def _check_kinds(kinds: Sequence[str], named: Mapping[str, Path]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise BadInput(
                "no such kind of masks", where="--write", got=repr(kind), do=f"choose among {', '.join(KINDS)}"
            )
    faults = [
        BadInput("DICOM masks belong to a DICOM series", where=f"image {name!r}", got=str(path), do="write nifti")
        for name, path in named.items()
        if set(kinds) - {"nifti"} and is_nifti(path)
    ]
    raise_all(faults)


def named_images(images: Sequence[Path]) -> dict[str, Path]:
    """What each image's masks will be called: the case id in a cohort, else the file's name without its ending."""
    named: dict[str, Path] = {}
    for name, path in _each_image(images):
        if name in named:
            raise BadInput("two images have the same name", where=str(path), got=str(named[name]), do="predict apart")
        named[name] = path
    return named


def _each_image(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in images:
        if not is_nifti(path) and (path / MANIFEST).exists():
            cohort = Cohort.open(path)
            yield from ((case.id, cohort.image_path(case)) for case in cohort)
        elif not is_nifti(path) and not exists(path):
            raise BadInput("the image does not exist", where=str(path), do="give NIfTI files, DICOM folders or cohorts")
        else:
            name = path.file_name if isinstance(path, Remote) else path.absolute().name
            name = name.removesuffix(".zip").removesuffix(".gz").removesuffix(".nii")
            if not name.strip("."):
                raise BadInput("the file's name can't name a folder", where=str(path), do="rename it")
            yield name, path


def _predict_one(made: Model | ModelAt, name: str, path: Path, request: PredictRequest) -> Predicted:
    about = request.out / name / "provenance.json"
    ct = read_ct(path, request.reading)
    parents = {"image": content(path), "model": made.made_by}
    facts: dict[str, Any] = {"organs": list(request.organs or made.organs.keys), "request": _fingerprint(request)}
    finished = _finished(about, parents, facts)
    if finished is not None and all(mask.exists() for mask in _files(name, request, facts["organs"])):
        return Predicted(name, finished)
    _forget(about, name, request, facts["organs"])
    model = opened(made)
    bits = predict_bits(model, ct.hu, ct.geometry, request.options)
    volumes = _write_masks(model, name, ct, bits, request)
    _write_dicom(model, name, path, (ct.grid, bits), request)
    if request.probabilities:
        _write_probabilities(model, name, ct, request)
    facts |= {"volumes_ml": volumes, "notes": list(ct.notes), "engine": model.engine}
    Provenance("predict", parents, facts).save(about)
    return Predicted(name, volumes)


def _forget(about: Path, name: str, request: PredictRequest, organs: Sequence[str]) -> None:
    """Without its note an image is not finished; what an earlier prediction wrote and this one doesn't write goes."""
    old = read_json(about) if about.exists() else None
    about.unlink(missing_ok=True)
    for path in (about, *_files(name, request, organs)):
        forget_unfinished(path)
    if isinstance(old, dict) and old.get("made_by") == "predict":
        wanted = set(_files(name, request, organs))
        for path in (request.out / name).iterdir():
            if (
                path.name.endswith((".nii.gz", *(end for end in KINDS.values() if end != ".nii.gz")))
                and path not in wanted
            ):
                path.unlink()


def _finished(about: Path, parents: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, float] | None:
    """The volumes of an image that was predicted with the same inputs before."""
    old = read_json(about) if about.exists() else None
    if not isinstance(old, dict) or old.get("parents") != parents:
        return None
    told = old.get("facts", {})
    volumes: dict[str, float] | None = told.get("volumes_ml")
    return volumes if all(told.get(key) == value for key, value in facts.items()) else None


def _files(name: str, request: PredictRequest, organs: Sequence[str]) -> list[Path]:
    """What is written for an image, besides its provenance."""
    folder = request.out / name
    masks = [request.out / f"{name}.nii.gz"] if request.labelmap else [folder / f"{key}.nii.gz" for key in organs]
    masks = masks if "nifti" in request.kinds else []
    masks += [folder / KINDS[kind] for kind in request.kinds if kind != "nifti"]
    return masks + [folder / f"{key}_probability.nii.gz" for key in organs if request.probabilities]


def _fingerprint(request: PredictRequest) -> str:
    return hash_json(
        [
            request.labelmap,
            sorted(request.kinds),
            request.probabilities,
            request.options.model_dump(),
            request.reading.model_dump(),
        ]
    )


def _write_masks(model: Model, name: str, ct: CT, bits: NDArray[np.int32], request: PredictRequest) -> dict[str, float]:
    """The masks, or the label map; two organs at a time. Returns volumes in ml."""
    keys = request.organs or model.organs.keys
    if request.labelmap and "nifti" in request.kinds:
        _write_labelmap(model, request.out / f"{name}.nii.gz", ct, bits, keys)
    alone = "nifti" in request.kinds and not request.labelmap

    def write(key: str) -> float:
        mask = mask_of(bits, model.organs.index(key))
        if alone:
            write_labels(request.out / name / f"{key}.nii.gz", mask, ct.grid)
        return round(float(np.count_nonzero(mask)) * ct.geometry.voxel_ml, 3)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(keys, pool.map(write, keys), strict=True))


def _write_labelmap(model: Model, path: Path, ct: CT, bits: NDArray[np.int32], keys: Sequence[str]) -> None:
    flat = np.zeros(bits.shape, dtype=np.uint8)
    for key in _parts_last(model.organs, keys):
        k = model.organs.index(key)
        flat[mask_of(bits, k) > 0] = k + 1
    write_labels(path, flat, ct.grid)


def _write_dicom(
    model: Model, name: str, series: Path, found: tuple[Grid, NDArray[np.int32]], request: PredictRequest
) -> None:
    """One object an image with all its organs; a segment without a voxel says that the organ was not found."""
    grid, bits = found
    keys = [key for key in model.organs.keys if key in (request.organs or model.organs.keys)]
    for kind in request.kinds:
        if kind != "nifti":
            chosen = np.zeros_like(bits)
            for i, key in enumerate(keys):
                chosen |= (bits >> model.organs.index(key) & 1) << np.int32(i)
            segments = segments_of(model.organs, keys, "AUTOMATIC")
            with fetched(series) as at_hand:
                write_masks(request.out / name / KINDS[kind], at_hand, chosen, grid, segments, kind)


def _parts_last(organs: OrganSet, keys: Sequence[str]) -> list[str]:
    """In a label map a part is drawn over its whole."""
    return sorted(keys, key=lambda key: len(organs.wholes(key)))


def _write_probabilities(model: Model, name: str, ct: CT, request: PredictRequest) -> None:
    """One organ after the other at full resolution; only half-precision scores on the working grid are kept."""
    image = to_working(model, ct.hu, ct.geometry)
    channels = tuple(model.organs.index(key) for key in request.organs or model.organs.keys)
    prediction = predict_working(model, image.hu, image.geometry, channels, request.options.batch_size)
    resampler = Resampler(image.geometry.shape, ct.geometry.shape)
    for score, k in zip(prediction.score, channels, strict=True):
        native: NDArray[Any] = resampler.volume(score)
        native = (1 / (1 + np.exp(-np.clip(native, -30, 30)))).astype(np.float16)
        write_probability(request.out / name / f"{model.organs.keys[k]}_probability.nii.gz", native, ct.grid)


def _volumes_table(done: Sequence[Predicted], organs: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", *(f"{key}_ml" for key in organs)])
    writer.writerows([row.name, *(row.volumes_ml.get(key, "") for key in organs)] for row in done)
    return stream.getvalue()
