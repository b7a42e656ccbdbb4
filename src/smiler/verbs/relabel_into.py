"""Where a relabelling writes to: the cohort's cases as they begin there, with what experts said there already."""

from dataclasses import replace
from pathlib import Path

from smiler.domain.amending import united
from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort, relocate
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.folders import Kind, kinds_in, refuse_others
from smiler.domain.progress import Progress
from smiler.domain.remote import Remote
from smiler.formats.base import some
from smiler.formats.volumes import content


def is_same(out: Path, cohort: Cohort) -> bool:
    """Whether OUT is the cohort's own folder."""
    if isinstance(out, Remote) or isinstance(cohort.folder, Remote):
        return out == cohort.folder
    return out.exists() and cohort.folder.exists() and out.samefile(cohort.folder)


def check_place(out: Path, *, same: bool, review: bool) -> None:
    """BadInput where a completed cohort would take something's place."""
    if same and not review:
        do = "choose another folder, or add --round to propose anew what is under review there"
        raise BadInput("a completed cohort is a new folder", where=str(out), do=do)
    if not same:
        do = "choose another folder"
        if Kind.REVIEW in kinds_in(out):
            do = f"smiler relabel RUN {out} {out} --round proposes anew and keeps every decision; or {do}"
        refuse_others(out, Kind.COHORT, do=do)


def begin(cohort: Cohort, there: Cohort | None, out: Path, progress: Progress) -> Cohort:
    """The cohort in `out` before anything is proposed: in a cell an expert's word there comes before one of `cohort`.

    Cases that are only there follow. BadInput if a case there is another CT.
    """
    mine = [relocate(cohort, case, out) for case in cohort]
    if there is None:
        return replace(cohort, folder=out, cases=tuple(mine))
    known = {case.id: case for case in there}
    raise_all([fault for case in mine if case.id in known for fault in _other_image(cohort, there, case.id)])
    differ: list[tuple[str, str]] = []
    cases = [_united(case, relocate(there, known[case.id], out), differ) if case.id in known else case for case in mine]
    if differ:
        progress.note(f"{out} says otherwise than the cohort, and stays: {some([' '.join(pair) for pair in differ])}")
    ids = {case.id for case in mine}
    rest = (case for case in there if case.id not in ids)
    return replace(there, organs=united(there.organs, cohort.organs), cases=(*cases, *rest))


def _other_image(cohort: Cohort, there: Cohort, case_id: str) -> list[BadInput]:
    one, other = cohort.image_path(cohort.case(case_id)), there.image_path(there.case(case_id))
    if one == other or content(one) == content(other):
        return []
    got = f"{other}, not {one}"
    return [BadInput("another CT has this id there", where=f"case {case_id}", got=got, do="choose another folder")]


def _united(mine: Case, there: Case, differ: list[tuple[str, str]]) -> Case:
    cells = {}
    for key in dict.fromkeys((*there.cells, *mine.cells)):
        said, new = there.cell(key), mine.cell(key)
        known, known_here = (cell.status is not Status.UNANNOTATED for cell in (said, new))
        if known and known_here and said != new:
            differ.append((mine.id, key))
        cells[key] = new if known_here and not known else said if str(said) else new
    return replace(mine, patient=there.patient, cells=cells)
