"""Complete a cohort: empty cells become `auto:` masks with their provenance; expert cells stay as they are."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.curriculum.relabel import accept, opinions_for
from smiler.domain.cells import Cell, Status, proposed
from smiler.domain.cohort import LEDGER, Case, Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.evidence import UNSEEN, Code, Fields, Relations, planes
from smiler.domain.files import forget_unfinished, hash_json, remove, write_text
from smiler.domain.judged import Judged, JudgedCase
from smiler.domain.ledger import ledger_text
from smiler.domain.locks import writing
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.domain.remote import Remote
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.nifti import write_labels, write_probability
from smiler.formats.volumes import Grid, ReadOptions, content, read_hu
from smiler.prediction.compose import bounding_box
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Gathered
from smiler.prediction.volume import Grids, WorkingImage, kept_bits, mask_of, restored, to_working, working_bits
from smiler.prediction.votes import FEWEST, Votes
from smiler.selection.propose import Selection
from smiler.store.resample import HALF, Resampler
from smiler.verbs.footprint import Footprint
from smiler.verbs.model_at import ModelAt, opened, usual_workers
from smiler.workers.base import Staged, Workers

FOLDER = "completed"
UNSURE = "_uncertainty.nii.gz"
"""Beside a proposal for the review: 0 (all passes agree) to 1."""
PATIENCE_SECONDS = 30.0
"""How long a review that is writing cases.csv is waited for."""


@dataclass(frozen=True)
class RelabelRequest:
    """How much of the predictions is proposed, ranked by which rule; `stage`: the model's round, for provenance.

    `review`: proposals are for the review page and tell how unsure they are. OUT may then be the cohort itself, whose
    reviewed cells stay; experts' masks that are not in `learned`, (case, organ) pairs, measure the model beside them.
    """

    out: Path
    fraction: float = 1.0
    rule: str = "score"
    passes: int = 10
    stage: int = 0
    options: PredictionOptions = PredictionOptions()
    reading: ReadOptions = ReadOptions()
    labels: LabelOptions = LabelOptions()
    review: bool = False
    learned: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class _Wanted:
    """A case of the completed cohort, the masks it may get, and what they will be made from."""

    case: Case
    masks: Mapping[str, Path]
    parents: Mapping[str, str]
    judged: "JudgedCase | None" = None

    def answered(self, out: Path) -> Case:
        """The case with a cell for each mask that is there."""
        found = {key: mask for key, mask in self.masks.items() if mask.exists()}
        cells = {key: proposed(mask.relative_to(out).as_posix()) for key, mask in found.items()}
        return self.case.with_cells(cells)

    def done(self, request: RelabelRequest) -> bool:
        """Whether all of it lies there already."""
        made = all(_is_done(mask, self.parents, request) for mask in self.masks.values())
        return made and (self.judged is None or self.judged.done(self.parents))


@dataclass(frozen=True)
class _Read:
    """A case on the working grid; its grid, and on it what experts said: `drawn` int32 (z, y, x), `known` (z,)."""

    wanted: _Wanted
    number: int
    working: WorkingImage
    grid: Grid
    drawn: NDArray[np.int32]
    known: NDArray[np.int32]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Made:
    """Proposals, a bit field (z, y, x) in the model's channels."""

    wanted: _Wanted
    grid: Grid
    bits: NDArray[np.int32]
    votes: Votes | None
    judged: Mapping[str, Judged]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CompleteCase(Staged[tuple[int, Case], _Read | _Wanted, _Made | _Wanted, Case]):
    """Complete one case, (its number, the case): the work of `relabel`. One that is complete passes as it is."""

    model: Model | ModelAt
    cohort: Cohort
    request: RelabelRequest

    def read(self, item: tuple[int, Case]) -> _Read | _Wanted:
        """The CT on the working grid, and what experts said."""
        number, case = item
        wanted = self._wanted(case)
        if wanted.done(self.request):
            return wanted
        ct = read_hu(self.cohort.image_path(case), self.request.reading, self.where(item))
        labels = read_case_labels(self.cohort, case, ct.geometry, self.request.labels)
        working = to_working(self.model.facts.data, ct.hu, ct.geometry)
        return _Read(wanted, number, working, ct.grid, labels.drawn, labels.known, ct.notes)

    def compute(self, read: _Read | _Wanted) -> _Made | _Wanted:
        """All that needs the network."""
        if isinstance(read, _Wanted):
            return read
        model, votes = opened(self.model), None
        if self.request.review:
            votes = Votes(tuple(range(len(model.organs))), read.working.geometry, max(self.request.passes, FEWEST))
        bits = _predicted(model, self.cohort, read, self.request, votes)
        judged = {}
        if votes and read.wanted.judged:
            judged = {key: _judge(model, self.cohort, read, (bits, votes), key) for key in read.wanted.judged.organs}
        _drop_known(model, self.cohort, read, bits)
        return _Made(read.wanted, read.grid, bits, votes, judged, read.notes)

    def write(self, made: _Made | _Wanted) -> Case:
        """The case with `auto:` cells, its masks written, two at a time."""
        if isinstance(made, _Wanted):
            return made.answered(self.request.out)

        def write(key: str) -> None:
            _write(made, key, self.model.organs.index(key), self.request)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, made.wanted.masks))
        if made.wanted.judged:
            made.wanted.judged.write(made.wanted.parents, made.judged)
        return made.wanted.answered(self.request.out)

    def _wanted(self, case: Case) -> _Wanted:
        """Nothing is asked of files where every organ is annotated."""
        moved = relocate(self.cohort, case, self.request.out)
        wanted = [key for key in self.model.organs.keys if case.status(key) is Status.UNANNOTATED]
        folder = self.request.out / FOLDER
        if self.request.review:  # each model's proposals in a folder of their own: earlier ones can be looked at
            folder /= self.model.made_by[:12]
        unseen = self._unseen(case) if self.request.review else ()
        if not wanted and not unseen:
            return _Wanted(moved, {}, {})
        image = content(self.cohort.image_path(case))
        parents = {"image": image, "model": self.model.made_by, "annotations": _annotations(self.cohort, case)}
        masks = {key: folder / f"{case.id}_{key}.nii.gz" for key in wanted}
        if self.request.review:
            moved = moved.with_cells({key: Cell() for key in wanted})
        return _Wanted(moved, masks, parents, JudgedCase.of(folder, case.id, unseen))

    def _unseen(self, case: Case) -> tuple[str, ...]:
        """Organs that an expert drew everywhere in the case, or saw to be absent, and the model did not learn from."""
        known = [key for key in self.model.organs.keys if case.status(key) is not Status.UNANNOTATED]
        whole = [key for key in known if not case.cell(key).ranges and not case.cell(key).ignored]
        return tuple(key for key in whole if (case.id, key) not in self.request.learned)

    def memory(self, item: tuple[int, Case]) -> int:
        """About how many bytes it takes, without the network's own: bit fields; where they are ranked, what each
        organ's scores, ranks and evidence take.
        """
        ranks = 0 if self.request.fraction == 1 else 20 * len(self.model.organs)
        path = self.cohort.image_path(item[1])
        return Footprint(16, 2 + ranks).of(path, self.request.reading, self.model.facts.data)

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
    there = _is_same(request.out, cohort)
    if there and not request.review:
        do = "choose another folder, or add --round to propose anew what is under review there"
        raise BadInput("a completed cohort is a new folder", where=str(request.out), do=do)
    for key in model.organs.keys:
        cohort.organs.index(key)
    held = request.out / FOLDER if there else request.out
    with nullcontext() if isinstance(request.out, Remote) else writing(held):
        results = (workers or usual_workers(model)).map(CompleteCase(model, cohort, request), enumerate(cohort))
        cases = tuple((progress or Silent()).track(results, "relabelling", len(cohort)))
        completed = replace(cohort, folder=request.out, cases=cases)
        if there:
            completed = _joined(cohort, completed)
        else:
            completed.save()
        Provenance("relabel", {"model": model.made_by}, {"fraction": request.fraction, "rule": request.rule}).save(
            request.out / "provenance.json"
        )
    return completed


def _is_same(out: Path, cohort: Cohort) -> bool:
    return not isinstance(out, Remote) and out.resolve() == cohort.folder.resolve()


def _joined(before: Cohort, completed: Cohort) -> Cohort:
    """Put new cells into a cohort that people may have worked on meanwhile: only where the cell still says the same."""
    with writing(completed.folder, PATIENCE_SECONDS):
        now = Cohort.open(completed.folder)
        old, new = ({case.id: case for case in cohort} for cohort in (before, completed))
        cases = []
        for case in now:
            one, other = old.get(case.id), new.get(case.id)
            same = [k for k in now.organs.keys if one and other and str(one.cell(k)) == str(case.cell(k))]
            cases.append(case.with_cells({key: other.cell(key) for key in same}) if other else case)
        joined = replace(now, cases=tuple(cases))
        write_text(joined.folder / LEDGER, ledger_text(joined))
    return joined


def _annotations(cohort: Cohort, case: Case) -> str:
    """Hash of all that experts said of the case: proposals made beside other annotations are not kept."""
    known = {key: cell for key, cell in case.cells.items() if cell.status is not Status.UNANNOTATED}
    masks = {cell.path: content(cohort.at(cell.path)) for cell in known.values() if cell.path}
    return hash_json([{key: str(cell) for key, cell in known.items()}, masks])


def _asked(request: RelabelRequest) -> dict[str, Any]:
    """What decides the proposals besides model and case."""
    options, labels = (model.model_dump(mode="json") for model in (request.options, request.labels))
    asked = [options, request.reading.deciding, labels, request.passes, *(["review"] if request.review else [])]
    return {"rule": request.rule, "fraction": request.fraction, "options": hash_json(asked)}


def _about(mask: Path) -> Path:
    return mask.with_name(mask.name.removesuffix(".nii.gz") + ".json")


def _unsure(mask: Path) -> Path:
    return mask.with_name(mask.name.removesuffix(".nii.gz") + UNSURE)


def _is_done(mask: Path, parents: Mapping[str, str], request: RelabelRequest) -> bool:
    old = Provenance.read(_about(mask))
    if old is None or old.parents != parents:
        return False
    same = all(old.facts.get(key) == value for key, value in _asked(request).items())
    return same and mask.exists() == bool(old.facts.get("voxels"))


def _write(made: _Made, key: str, channel: int, request: RelabelRequest) -> None:
    """The mask first, then what says that it is complete. Nothing found: no mask, only the note of it."""
    mask, array, grid = made.wanted.masks[key], mask_of(made.bits, channel), made.grid
    voxels = int(np.count_nonzero(array))
    for path in (_about(mask), mask, _unsure(mask)):
        remove(path)
        forget_unfinished(path)
    if voxels:
        write_labels(mask, array, grid)
    facts = {"round": request.stage, **_asked(request), "voxels": voxels, "notes": list(made.notes)}
    facts["ml"] = round(voxels * grid.geometry.voxel_ml, 3)
    if made.votes:
        facts |= asdict(made.votes.agreement(channel))
        if voxels:
            write_probability(_unsure(mask), made.votes.unsure(channel, grid.geometry), grid)
    Provenance("relabel", made.wanted.parents, facts).save(_about(mask))


def _predicted(
    model: Model, cohort: Cohort, read: _Read, request: RelabelRequest, votes: Votes | None
) -> NDArray[np.int32]:
    """Bit field (z, y, x) in the model's channels: predicted, and safe enough."""
    if request.fraction != 1:
        return _safest(model, read, _in_channels(model, cohort, read), request)
    native = read.grid.geometry
    if votes is None:
        return working_bits(model, read.working, native, request.options)
    return kept_bits(model, read.working, native, request.options, votes, votes.opinions)


def _judge(model: Model, cohort: Cohort, read: _Read, said: tuple[NDArray[np.int32], Votes], key: str) -> Judged:
    """What the model says of an organ beside what an expert drew."""
    bits, votes = said
    channel, own = model.organs.index(key), cohort.organs.index(key)
    both = found = drawn = 0
    for mine, truth in zip(bits, read.drawn, strict=True):
        one, other = mine >> channel & 1, truth >> own & (truth >= 0)
        both += int((one & other).sum())
        found, drawn = found + int(one.sum()), drawn + int(other.sum())
    dice = 2 * both / (found + drawn) if found + drawn else 1.0
    agreed = votes.agreement(channel)
    return Judged(key, agreed.agreement if found else None, agreed.unsure_cm2, round(dice, 4))


def _drop_known(model: Model, cohort: Cohort, read: _Read, bits: NDArray[np.int32]) -> None:
    """Nothing is proposed where something is known."""
    relations = Relations.of(cohort.organs)  # organs that the model doesn't know exclude, too
    owns = [cohort.organs.index(key) for key in model.organs.keys]
    for start in range(0, len(bits), 8):
        part = slice(start, start + 8)
        box = bounding_box(bits[part])
        if box:
            found, drawn = bits[part][box], read.drawn[part][box]
            known = np.broadcast_to(read.known[part][box[0], None, None], found.shape)
            evidence = planes(Fields(drawn, known, np.zeros_like(found)), relations)
            found &= _renumbered(evidence.among([Code.UNKNOWN]), owns)


def _renumbered(bits: NDArray[np.int32], owns: Sequence[int]) -> NDArray[np.int32]:
    """The cohort's bits in the order of the model's organs: bit k from bit owns[k]."""
    if list(owns) == list(range(len(owns))):
        return bits
    out = np.zeros_like(bits)
    for k, own in enumerate(owns):
        out |= (bits >> own & 1) << np.int32(k)
    return out


def _in_channels(model: Model, cohort: Cohort, read: _Read) -> Fields:
    """The case's bit fields in the order of the model's organs."""
    owns = [cohort.organs.index(key) for key in model.organs.keys]
    unseen = read.drawn & np.int32(-(1 << UNSEEN))
    return Fields(_renumbered(read.drawn, owns) | unseen, _renumbered(read.known, owns), None)


def _safest(model: Model, read: _Read, fields: Fields, request: RelabelRequest) -> NDArray[np.int32]:
    """What is predicted and among the best-ranked share of that on the working grid, on the CT's; predicted once."""
    image, native = read.working, read.grid.geometry
    opinions = opinions_for(request.rule, request.passes)
    channels = tuple(range(len(model.organs)))
    gathered = Gathered(channels, image.geometry, model.made_by)
    bits = kept_bits(model, image, native, request.options, gathered, opinions)
    there = Resampler(native.shape, image.geometry.shape)
    nearest = [np.minimum(np.arange(n) * old // n, old - 1) for n, old in zip(there.target, there.source, strict=True)]
    drawn = fields.drawn[np.ix_(*nearest)]
    known = np.broadcast_to(fields.known[nearest[0]][:, None, None], drawn.shape)
    selection = Selection(request.fraction, "volume", (request.stage, read.number))
    prediction = gathered.prediction()
    if request.options.score_threshold:
        prediction = replace(prediction, score=prediction.score - np.float16(request.options.score_threshold))
    safe = accept(prediction, Fields(drawn, known, np.zeros_like(drawn)), model.organs, request.rule, selection)
    grids = Grids(image.geometry, native)
    return bits & restored(_shares(safe, len(channels)), grids, model.organs, PredictionOptions())


def _shares(safe: NDArray[np.int32], organs: int) -> Iterator[NDArray[np.float32]]:
    """Masks as scores (K, y, x), a slice after the other: above 0 where an organ has more than half of a voxel."""
    for plane in safe:
        yield np.stack([(plane >> k & 1).astype(np.float32) - np.float32(HALF) for k in range(organs)])
