"""Predict CT files: masks on each file's own grid, volumes in ml, provenance; what is finished is not done again."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from smiler.domain.cohort import MANIFEST, Cohort
from smiler.domain.endings import stem_of
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.files import try_writing, write_json, write_text
from smiler.domain.locks import claiming
from smiler.domain.names import folded
from smiler.domain.places import exists
from smiler.domain.progress import Progress, Silent
from smiler.domain.remote import Remote
from smiler.domain.signpost import instead, signpost
from smiler.formats.volumes import is_nifti
from smiler.prediction.model import Model
from smiler.verbs.model_at import ModelAt, usual_workers
from smiler.verbs.outputs import LABELS, VOLUMES, check_outputs
from smiler.verbs.predict_image import KINDS, Predicted, PredictImage, PredictRequest, TryMasks
from smiler.workers.base import Workers

__all__ = ["KINDS", "PredictImage", "PredictRequest", "Predicted", "named_images", "predict"]


def predict(
    model: Model | ModelAt,
    images: Sequence[Path],
    request: PredictRequest,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> list[Predicted]:
    """Predict every image (NIfTI files, DICOM folders or zip files, or cohort folders: all their cases).

    Names, organs, kinds and the folder are checked first, and DICOM masks are written on trial. Workers in other
    processes need a ModelAt: they open it themselves.
    """
    for key in request.organs:
        model.organs.index(key)
    named = named_images(images)
    _check_kinds(request.kinds, named)
    work, shown, hands = PredictImage(model, request), progress or Silent(), workers or usual_workers(model)
    with claiming(request.out):
        check_outputs(work, named)
        _rehearse(hands, model, named, request)
        done = list(shown.track(hands.map(work, named.items()), "predicting", len(named)))
        for row in done:
            for note in row.notes:
                shown.note(f"{row.name}: {note}")
        write_text(request.out / VOLUMES, _volumes_table(done, request.organs or model.organs.keys))
        if request.labelmap:
            write_json(request.out / LABELS, {key: k + 1 for k, key in enumerate(model.organs.keys)})
    return done


def _rehearse(hands: Workers, model: Model | ModelAt, named: Mapping[str, Path], request: PredictRequest) -> None:
    """What can fail at the end is tried before anything is computed: BadInput says all of it."""
    try_writing(request.out)
    files = [KINDS[kind] for kind in request.kinds if kind != "nifti"]
    new = [item for item in named.items() if not all((request.out / item[0] / file).exists() for file in files)]
    raise_all([fault for faults in hands.map(TryMasks(model.organs, request), new) for fault in faults])


def _check_kinds(kinds: Sequence[str], named: Mapping[str, Path]) -> None:
    faults = [
        BadInput("DICOM masks belong to a DICOM series", where=f"image {name!r}", got=str(path), do="write nifti")
        for name, path in named.items()
        if set(kinds) - {"nifti"} and is_nifti(path)
    ]
    raise_all(faults)


def named_images(images: Sequence[Path]) -> dict[str, Path]:
    """What each image's masks will be called: the case id in a cohort, else the file's name without its ending."""
    named: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for name, path in _each_image(images):
        other = taken.setdefault(folded(name), path)
        if other is not path:
            raise BadInput("two images have the same name", where=str(path), got=str(other), do="predict apart")
        named[name] = path
    return named


def _each_image(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in images:
        if not is_nifti(path) and (path / MANIFEST).exists():
            cohort = Cohort.open(path)
            yield from ((case.id, cohort.image_path(case)) for case in cohort)
        elif not is_nifti(path) and not exists(path):
            do = "give NIfTI, MHA or NRRD files, DICOM folders or cohorts"
            raise instead("the image does not exist", path, do=do)
        elif not is_nifti(path) and signpost(path).kind in ("run", "folds", "results", "data", "volumes", "empty"):
            raise instead("neither an image nor a cohort", path)
        else:
            name = path.file_name if isinstance(path, Remote) else path.absolute().name
            name = stem_of(name.removesuffix(".zip"))
            if not name.strip("."):
                raise BadInput("the file's name can't name a folder", where=str(path), do="rename it")
            yield name, path


def _volumes_table(done: Sequence[Predicted], organs: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", *(f"{key}_ml" for key in organs)])
    writer.writerows([row.name, *(row.volumes_ml.get(key, "") for key in organs)] for row in done)
    return stream.getvalue()
