"""Complete a cohort: empty cells become `auto:` masks with their provenance; expert cells stay as they are."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.curriculum.relabel import accept, opinions_for
from smiler.domain.cells import Status, proposed
from smiler.domain.cohort import Case, Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.evidence import UNSEEN, Code, Fields, Relations, planes
from smiler.domain.files import forget_unfinished, hash_json, read_json
from smiler.domain.locks import writing
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.domain.remote import Remote
from smiler.formats.labels import LabelOptions, Labels, read_case_labels
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import CT, ReadOptions, content, read_ct
from smiler.prediction.compose import bounding_box
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Gathered, slice_scores
from smiler.prediction.volume import Grids, each_slice, mask_of, predict_bits, restored, to_working
from smiler.selection.propose import Selection
from smiler.store.resample import HALF, Resampler
from smiler.verbs.model_at import ModelAt, opened
from smiler.workers.base import InProcess, Workers

FOLDER = "completed"


@dataclass(frozen=True)
class RelabelRequest:
    """How much of the predictions is proposed, ranked by which rule; `stage`: the model's round, for provenance."""

    out: Path
    fraction: float = 1.0
    rule: str = "score"
    passes: int = 10
    stage: int = 0
    options: PredictionOptions = PredictionOptions()
    reading: ReadOptions = ReadOptions()
    labels: LabelOptions = LabelOptions()


@dataclass(frozen=True)
class CompleteCase:
    """Complete one case, (its number, the case): the work of `relabel`."""

    model: Model | ModelAt
    cohort: Cohort
    request: RelabelRequest

    def __call__(self, item: tuple[int, Case]) -> Case:
        """The case with `auto:` cells, its masks written."""
        return _complete(self.model, self.cohort, item[1], item[0], self.request)

    def where(self, item: tuple[int, Case]) -> str:
        """How an error names it."""
        return f"case {item[1].id}, file {item[1].image}"


def relabel(
    model: Model | ModelAt,
    cohort: Cohort,
    request: RelabelRequest,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Cohort:
    """A completed cohort in `out`: same images, same expert cells, `auto:` masks where nobody looked.

    A proposal never lies on a voxel about which something is known. An organ that is not found stays unannotated.
    Workers in other processes need a ModelAt: they open it themselves.
    """
    if request.out.resolve() == cohort.folder.resolve():
        raise BadInput("a completed cohort is a new folder", where=str(request.out), do="choose another folder")
    for key in model.organs.keys:
        cohort.organs.index(key)
    with nullcontext() if isinstance(request.out, Remote) else writing(request.out):
        results = (workers or InProcess()).map(CompleteCase(model, cohort, request), enumerate(cohort))
        cases = tuple((progress or Silent()).track(results, "relabelling", len(cohort)))
        completed = replace(cohort, folder=request.out, cases=cases)
        completed.save()
        Provenance("relabel", {"model": model.made_by}, {"fraction": request.fraction, "rule": request.rule}).save(
            request.out / "provenance.json"
        )
    return completed


def _complete(model: Model | ModelAt, cohort: Cohort, case: Case, index: int, request: RelabelRequest) -> Case:
    moved = relocate(cohort, case, request.out)
    wanted = [key for key in model.organs.keys if case.status(key) is Status.UNANNOTATED]
    if not wanted:
        return moved
    image = cohort.image_path(case)
    masks = {key: request.out / FOLDER / f"{case.id}_{key}.nii.gz" for key in wanted}
    parents = {"image": content(image), "model": model.made_by, "annotations": _annotations(cohort, case)}
    if not all(_is_done(mask, parents, request) for mask in masks.values()):
        ct = read_ct(image, request.reading)
        labels = read_case_labels(cohort, case, ct.geometry, request.labels)
        bits = _proposals(opened(model), cohort, ct, labels, (index, request))
        channels = [model.organs.index(key) for key in masks]
        with ThreadPoolExecutor(2) as pool:
            work = pool.map(
                lambda mask, k: _write(mask, mask_of(bits, k), ct, parents, request), masks.values(), channels
            )
            list(work)
    found = {key: mask for key, mask in masks.items() if mask.exists()}
    return moved.with_cells({key: proposed(f"{FOLDER}/{mask.name}") for key, mask in found.items()})


def _annotations(cohort: Cohort, case: Case) -> str:
    """Hash of all that experts said of the case: proposals made beside other annotations are not kept."""
    known = {key: cell for key, cell in case.cells.items() if cell.status is not Status.UNANNOTATED}
    masks = {cell.path: content(cohort.at(cell.path)) for cell in known.values() if cell.path}
    return hash_json([{key: str(cell) for key, cell in known.items()}, masks])


def _asked(request: RelabelRequest) -> dict[str, Any]:
    """What decides the proposals besides model and case."""
    options = [model.model_dump(mode="json") for model in (request.options, request.reading, request.labels)]
    return {"rule": request.rule, "fraction": request.fraction, "options": hash_json([*options, request.passes])}


def _about(mask: Path) -> Path:
    return mask.with_name(mask.name.removesuffix(".nii.gz") + ".json")


def _is_done(mask: Path, parents: Mapping[str, str], request: RelabelRequest) -> bool:
    old = read_json(_about(mask)) if _about(mask).exists() else None
    if not isinstance(old, dict) or old.get("parents") != parents:
        return False
    told = old.get("facts", {})
    same = all(told.get(key) == value for key, value in _asked(request).items())
    return same and mask.exists() == bool(told.get("voxels"))


def _write(mask: Path, array: NDArray[np.uint8], ct: CT, parents: Mapping[str, str], request: RelabelRequest) -> None:
    """The mask first, then what says that it is complete. Nothing found: no mask, only the note of it."""
    voxels = int(np.count_nonzero(array))
    for path in (_about(mask), mask):
        path.unlink(missing_ok=True)
        forget_unfinished(path)
    if voxels:
        write_labels(mask, array, ct.grid)
    facts = {"round": request.stage, **_asked(request), "voxels": voxels}
    facts["ml"] = round(voxels * ct.geometry.voxel_ml, 3)
    Provenance("relabel", parents, facts).save(_about(mask))


def _proposals(
    model: Model, cohort: Cohort, ct: CT, labels: Labels, step: tuple[int, RelabelRequest]
) -> NDArray[np.int32]:
    """Bit field (z, y, x) in the model's channels: predicted, safe enough, and not known otherwise."""
    index, request = step
    if request.fraction == 1:
        bits = predict_bits(model, ct.hu, ct.geometry, request.options)
    else:
        bits = _safest(model, ct, _in_channels(model, cohort, labels), (index, request))
    relations = Relations.of(cohort.organs)  # organs that the model doesn't know exclude, too
    owns = [cohort.organs.index(key) for key in model.organs.keys]
    for start in range(0, len(bits), 8):
        part = slice(start, start + 8)
        box = bounding_box(bits[part])
        if box:
            found, drawn = bits[part][box], labels.drawn[part][box]
            known = np.broadcast_to(labels.known[part][box[0], None, None], found.shape)
            evidence = planes(Fields(drawn, known, np.zeros_like(found)), relations)
            found &= _renumbered(evidence.among([Code.UNKNOWN]), owns)
    return bits


def _renumbered(bits: NDArray[np.int32], owns: Sequence[int]) -> NDArray[np.int32]:
    """The cohort's bits in the order of the model's organs: bit k from bit owns[k]."""
    if list(owns) == list(range(len(owns))):
        return bits
    out = np.zeros_like(bits)
    for k, own in enumerate(owns):
        out |= (bits >> own & 1) << np.int32(k)
    return out


def _in_channels(model: Model, cohort: Cohort, labels: Labels) -> Fields:
    """The case's bit fields in the order of the model's organs."""
    owns = [cohort.organs.index(key) for key in model.organs.keys]
    unseen = labels.drawn & np.int32(-(1 << UNSEEN))
    return Fields(_renumbered(labels.drawn, owns) | unseen, _renumbered(labels.known, owns), None)


def _safest(model: Model, ct: CT, fields: Fields, step: tuple[int, RelabelRequest]) -> NDArray[np.int32]:
    """What is predicted and among the best-ranked share on the working grid, brought to the CT's; predicted once."""
    index, request = step
    image = to_working(model, ct.hu, ct.geometry)
    opinions = opinions_for(request.rule, request.passes)
    channels = tuple(range(len(model.organs)))
    gathered = Gathered(channels, image.geometry, model.made_by)
    said = slice_scores(model, image.hu, 0, len(image.hu), request.options.batch_size, opinions)
    grids = Grids(image.geometry, ct.geometry)
    scores = each_slice(gathered.passing(said), request.options)
    bits = restored(scores, grids, model.organs, request.options)
    for _ in scores:
        pass  # slices that no slice of the CT needs are ranked, too
    there = Resampler(ct.geometry.shape, image.geometry.shape)
    nearest = [np.minimum(np.arange(n) * old // n, old - 1) for n, old in zip(there.target, there.source, strict=True)]
    drawn = fields.drawn[np.ix_(*nearest)]
    known = np.broadcast_to(fields.known[nearest[0]][:, None, None], drawn.shape)
    selection = Selection(request.fraction, "volume", (request.stage, index))
    safe = accept(
        gathered.prediction(), Fields(drawn, known, np.zeros_like(drawn)), model.organs, request.rule, selection
    )
    return bits & restored(_shares(safe, len(channels)), grids, model.organs, PredictionOptions())


def _shares(safe: NDArray[np.int32], organs: int) -> Iterator[NDArray[np.float32]]:
    """Masks as scores (K, y, x), a slice after the other: above 0 where an organ has more than half of a voxel."""
    for plane in safe:
        yield np.stack([(plane >> k & 1).astype(np.float32) - np.float32(HALF) for k in range(organs)])
