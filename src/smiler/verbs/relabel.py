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
from smiler.domain.amending import amend
from smiler.domain.cells import Cell, Status, proposed
from smiler.domain.checks import check_choice, check_number
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.evidence import UNSEEN, Code, Fields, Relations, planes
from smiler.domain.files import forget_unfinished, hash_json, remove
from smiler.domain.judged import Judged, JudgedCase
from smiler.domain.ledger import cohort_at
from smiler.domain.locks import claiming
from smiler.domain.names import beside_pair, pair_name
from smiler.domain.origin import take_along
from smiler.domain.progress import Progress, Silent, WithNotes, without_notes
from smiler.domain.provenance import Provenance
from smiler.formats.base import some
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.nifti import write_labels, write_probability
from smiler.formats.volumes import Grid, ReadOptions, content, read_hu
from smiler.prediction.compose import bounding_box
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Gathered
from smiler.prediction.volume import Grids, WorkingImage, kept_bits, mask_of, restored, to_working, working_bits
from smiler.prediction.votes import FEWEST, Votes
from smiler.selection import RULES
from smiler.selection.propose import Selection
from smiler.store.resample import HALF, Resampler
from smiler.verbs.footprint import Footprint
from smiler.verbs.model_at import ModelAt, opened, usual_workers
from smiler.verbs.relabel_into import begin, check_place, is_same
from smiler.workers.base import Staged, Workers

FOLDER = "completed"
UNSURE = "uncertainty"
"""Beside a proposal for the review: 0 (all passes agree) to 1."""
LEAST_FRACTION = 0.01
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

    def __post_init__(self) -> None:
        check_choice(self.rule, "--rule", "rule", RULES)
        check_number(self.fraction, "--fraction", LEAST_FRACTION, 1)
        check_number(self.passes, "curriculum.passes", 2, 100, whole=True)
        check_number(self.stage, "stage of the model", 0, whole=True)
        if self.review and self.fraction < 1:
            raise BadInput("a round of review proposes all that is predicted", where="--fraction", do="leave it out")


@dataclass(frozen=True)
class _Wanted:
    """A case of the completed cohort, the masks it may get, and what they will be made from.

    `named`: organs whose mask the cohort's cell names already: it must be there as long as the cell says so.
    """

    case: Case
    masks: Mapping[str, Path]
    parents: Mapping[str, str]
    judged: "JudgedCase | None" = None
    named: frozenset[str] = frozenset()

    def answered(self, out: Path) -> Case:
        """The case with a cell for each mask that has a voxel; organs that were not found have none."""
        found = {key for key, mask in self.masks.items() if _facts(mask)["voxels"]}
        cells = {k: proposed(self.masks[k].relative_to(out).as_posix()) if k in found else Cell() for k in self.masks}
        return self.case.with_cells(cells)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was told of the files when the masks were made."""
        told = [note for mask in self.masks.values() for note in _facts(mask).get("notes", ())]
        return tuple(dict.fromkeys(told))

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
class CompleteCase(Staged[tuple[int, Case], _Read | _Wanted, _Made | _Wanted, WithNotes[Case]]):
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
        known = replace(case, cells={key: cell for key, cell in case.cells.items() if not cell.auto})
        labels = read_case_labels(self.cohort, known, ct.geometry, self.request.labels)
        working = to_working(self.model.facts.data, ct.hu, ct.geometry, self.where(item))
        notes = (*(f"case {case.id}, image {case.image}: {note}" for note in ct.notes), *labels.notes)
        return _Read(wanted, number, working, ct.grid, labels.drawn, labels.known, notes)

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

    def write(self, made: _Made | _Wanted) -> WithNotes[Case]:
        """The case with `auto:` cells, its masks written, two at a time."""
        if isinstance(made, _Wanted):
            return WithNotes(made.answered(self.request.out), made.notes)

        def write(key: str) -> None:
            _write(made, key, self.model.organs.index(key), self.request)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, made.wanted.masks))
        if made.wanted.judged:
            made.wanted.judged.write(made.wanted.parents, made.judged)
        return WithNotes(made.wanted.answered(self.request.out), made.notes)

    def _wanted(self, case: Case) -> _Wanted:
        """Nothing is asked of files where every organ is annotated."""
        wanted = [key for key in self.model.organs.keys if case.status(key) is Status.UNANNOTATED]
        folder = self.request.out / FOLDER
        if self.request.review:  # each model's proposals in a folder of their own: earlier ones can be looked at
            folder /= self.model.made_by[:32]
        unseen = self._unseen(case) if self.request.review else ()
        if not wanted and not unseen:
            return _Wanted(case, {}, {})
        image = content(self.cohort.image_path(case))
        parents = {"image": image, **self.model.parents, "annotations": _annotations(self.cohort, case)}
        masks = {key: folder / f"{pair_name(case.id, key)}.nii.gz" for key in wanted}
        named = frozenset(k for k in wanted if case.cell(k).path and self.cohort.mask_path(case, k) == masks[k])
        return _Wanted(case, masks, parents, JudgedCase.of(folder, case.id, unseen), named)

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

    A cohort that lies in `out` already is merged into: what experts said there stays, and the rest is completed. A
    proposal never lies on a voxel about which something is known. An organ that is not found stays unannotated.
    Workers in other processes need a ModelAt: they open it themselves.
    """
    shown, there = progress or Silent(), is_same(request.out, cohort)
    check_place(request.out, same=there, review=request.review)
    for key in model.organs.keys:
        cohort.organs.index(key)
    with claiming(request.out / FOLDER if there else request.out):
        before = cohort if there else cohort_at(request.out, lost_proposals=True)
        begun = cohort if there else begin(cohort, before, request.out, shown)
        items = list(enumerate(begun.cases[: len(cohort)]))
        results = (workers or usual_workers(model)).map(CompleteCase(model, begun, request), items)
        each = shown.track(without_notes(results, shown), "relabelling", len(items))
        done = {case.id: case for case in each}
        after = replace(begun, cases=tuple(done.get(case.id, case) for case in begun))
        with claiming(request.out, PATIENCE_SECONDS) if there else nullcontext():
            amended = amend(request.out, before, after)
        if not there:
            take_along(cohort, amended.cohort)
        _tidy(begun, amended.cohort)
        if amended.left:
            shown.note(f"changed by others meanwhile, and left so: {some([' '.join(pair) for pair in amended.left])}")
        facts = {"fraction": request.fraction, "rule": request.rule}
        Provenance("relabel", model.parents, facts).save(request.out / "provenance.json")
    return amended.cohort


def _tidy(begun: Cohort, now: Cohort) -> None:
    """Masks of proposals that this relabelling did not find again go, once no cell names them."""
    cells = {(case.id, key): cell.path for case in now for key, cell in case.cells.items()}
    for case in begun:
        for key, cell in case.cells.items():
            if cell.auto and cell.path != cells.get((case.id, key)) and _found_nothing(begun.at(cell.path)):
                remove(begun.at(cell.path))


def _found_nothing(mask: Path) -> bool:
    about = Provenance.read(_about(mask))
    return about is not None and about.made_by == "relabel" and about.facts.get("voxels") == 0


def _annotations(cohort: Cohort, case: Case) -> str:
    """Hash of all that experts said of the case: proposals made beside other annotations are not kept."""
    known = {key: cell for key, cell in case.cells.items() if cell.status is not Status.UNANNOTATED}
    masks = {cell.path: content(cohort.at(cell.path)) for cell in known.values() if cell.path}
    told = {key: [str(replace(c, path="-")), masks[c.path]] if c.path else str(c) for key, c in known.items()}
    return hash_json(told)


def _asked(request: RelabelRequest) -> dict[str, Any]:
    """What decides the proposals besides model and case."""
    chosen = (request.options, request.reading, request.labels)
    asked = [
        *(model.model_dump(mode="json") for model in chosen),
        request.passes,
        *(["review"] if request.review else []),
    ]
    return {"rule": request.rule, "fraction": request.fraction, "options": hash_json(asked)}


def _about(mask: Path) -> Path:
    return mask.with_name(mask.name.removesuffix(".nii.gz") + ".json")


def _unsure(mask: Path) -> Path:
    return mask.with_name(f"{beside_pair(mask.name.removesuffix('.nii.gz'), UNSURE)}.nii.gz")


def _facts(mask: Path) -> Mapping[str, Any]:
    """What is noted beside a mask; empty where nothing is."""
    about = Provenance.read(_about(mask))
    return about.facts if about is not None else {}


def _is_done(mask: Path, parents: Mapping[str, str], request: RelabelRequest) -> bool:
    old = Provenance.read(_about(mask))
    if old is None or old.parents != parents:
        return False
    same = all(old.facts.get(key) == value for key, value in _asked(request).items())
    return same and mask.exists() == bool(old.facts.get("voxels"))


def _write(made: _Made, key: str, channel: int, request: RelabelRequest) -> None:
    """The mask first, then what says that it is complete. Nothing found: no mask, only the note of it.

    A mask that the ledger names goes when the ledger doesn't name it any more.
    """
    mask, array, grid = made.wanted.masks[key], mask_of(made.bits, channel), made.grid
    voxels = int(np.count_nonzero(array))
    remove(_about(mask))
    for path in (_about(mask), mask, _unsure(mask)):
        forget_unfinished(path)
    if not (voxels and made.votes):
        remove(_unsure(mask))
    if not voxels and key not in made.wanted.named:
        remove(mask)
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
