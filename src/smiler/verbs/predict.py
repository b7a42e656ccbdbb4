"""Predict CT files: masks on each file's own grid, volumes in ml, provenance; what is finished is not done again."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import MANIFEST, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json, read_json, write_json, write_text
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.formats.nifti import write_labels, write_probability
from smiler.formats.volumes import CT, ReadOptions, content, read_ct
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import predict_working
from smiler.prediction.volume import predict_bits, to_working
from smiler.store.resample import Resampler


@dataclass(frozen=True)
class PredictRequest:
    """What to write for each image. `organs` empty: all that the model knows."""

    out: Path
    organs: tuple[str, ...] = ()
    labelmap: bool = False
    probabilities: bool = False
    options: PredictionOptions = PredictionOptions()
    reading: ReadOptions = ReadOptions()


@dataclass(frozen=True)
class Predicted:
    """One finished image: its name and each organ's volume in ml."""

    name: str
    volumes_ml: dict[str, float] = field(default_factory=dict)


def predict(
    model: Model, images: Sequence[Path], request: PredictRequest, progress: Progress | None = None
) -> list[Predicted]:
    """Predict every image (NIfTI files, or cohort folders: all their cases). Names and organs are checked first."""
    for key in request.organs:
        model.organs.index(key)
    named = named_images(images)
    done = []
    for name, path in (progress or Silent()).track(named.items(), "predicting", len(named)):
        done.append(_predict_one(model, name, path, request))
    write_text(request.out / "volumes.csv", _volumes_table(done, request.organs or model.organs.keys))
    if request.labelmap:
        write_json(request.out / "labels.json", {key: k + 1 for k, key in enumerate(model.organs.keys)})
    return done


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
        if (path / MANIFEST).exists():
            cohort = Cohort.open(path)
            yield from ((case.id, cohort.image_path(case)) for case in cohort)
        elif path.is_dir():
            raise BadInput("the folder is not a cohort", where=str(path), do="give NIfTI files or a cohort's folder")
        else:
            name = path.name.removesuffix(".gz").removesuffix(".nii")
            if not name.strip("."):
                raise BadInput("the file's name can't name a folder", where=str(path), do="rename it")
            yield name, path


def _predict_one(model: Model, name: str, path: Path, request: PredictRequest) -> Predicted:
    about = request.out / name / "provenance.json"
    ct = read_ct(path, request.reading)
    parents = {"image": content(path), "model": model.made_by}
    facts: dict[str, Any] = {"organs": list(request.organs or model.organs.keys), "request": _fingerprint(request)}
    finished = _finished(about, parents, facts)
    if finished is not None and all(mask.exists() for mask in _files(name, request, facts["organs"])):
        return Predicted(name, finished)
    about.unlink(missing_ok=True)  # from here on the masks may be of two kinds
    bits = predict_bits(model, ct.hu, ct.geometry, request.options)
    volumes = _write_masks(model, name, ct, bits, request)
    if request.probabilities:
        _write_probabilities(model, name, ct, request)
    facts |= {"volumes_ml": volumes, "notes": list(ct.notes)}
    Provenance("predict", parents, facts).save(about)
    return Predicted(name, volumes)


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
    return masks + [folder / f"{key}_probability.nii.gz" for key in organs if request.probabilities]


def _fingerprint(request: PredictRequest) -> str:
    return hash_json(
        [request.labelmap, request.probabilities, request.options.model_dump(), request.reading.model_dump()]
    )


def _write_masks(model: Model, name: str, ct: CT, bits: NDArray[np.int32], request: PredictRequest) -> dict[str, float]:
    volumes = {}
    flat = np.zeros(bits.shape if request.labelmap else (0, 0, 0), dtype=np.uint8)
    for key in _parts_last(model.organs, request.organs or model.organs.keys):
        k = model.organs.index(key)
        mask = (bits >> k & 1).astype(np.uint8)
        volumes[key] = round(float(mask.sum()) * ct.geometry.voxel_ml, 3)
        if request.labelmap:
            flat[mask > 0] = k + 1
        else:
            write_labels(request.out / name / f"{key}.nii.gz", mask, ct.grid)
    if request.labelmap:
        write_labels(request.out / f"{name}.nii.gz", flat, ct.grid)
    return volumes


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
