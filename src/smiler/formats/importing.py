"""Import a source into a cohort: everything is read and checked first, then the ledger is written; voxels stay put."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from smiler.domain.cells import ABSENT, UNANNOTATED, Cell, parse_cell
from smiler.domain.cohort import Case
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.domain.folders import Kind, kinds_in, refuse_others
from smiler.domain.locks import writing
from smiler.domain.organs import MAX_ORGANS
from smiler.domain.origin import Notes
from smiler.domain.remote import local
from smiler.domain.signpost import instead
from smiler.formats import detect, format_named
from smiler.formats.base import ImportOptions, RawCase, absolute, case_id, some
from smiler.formats.checking import OFF_GRID, Checked, Checks
from smiler.formats.duplicates import duplicates, geometries_of, told
from smiler.formats.imported import note_import, shared_patients
from smiler.formats.kept import KEPT, Kept, KeptCase, read_kept
from smiler.formats.makers import Makers, Unattributed
from smiler.formats.merging import known_organs, merge, too_many


@dataclass(frozen=True)
class ImportReport:
    """What an import did: ids of the new cases, keys of the new organs, and what a person should know."""

    added: tuple[str, ...]
    organs_added: tuple[str, ...]
    notes: tuple[str, ...]
    conflicts: tuple[str, ...]


class Ambiguous(BadInput):
    """Declared organs without a voxel, as (case, organ); raised alone where it is the only fault, so one can ask."""

    def __init__(self, pairs: Sequence[tuple[str, str]], where: str) -> None:
        self.pairs = tuple(pairs)
        super().__init__(
            "declared organs without a voxel: absent, or did nobody look?",
            where=where,
            got=f"{len(pairs)} (case organ): {some([' '.join(pair) for pair in pairs])}",
            do="say --absent-means absent if an expert looked everywhere, --absent-means unannotated if not",
        )


def import_into(
    source: Path,
    cohort_folder: Path,
    options: ImportOptions | None = None,
    format_name: str | None = None,
    on_case: Callable[[str], None] | None = None,
) -> ImportReport:
    """Make a cohort of a source, or add the source's cases to the cohort there.

    `on_case` is called with each case's id as it is read. BadInput (every fault at once) and nothing written if the
    source can't be read as a whole, if cases are there already, or if the source leaves open what `options` must say.
    """
    options = options or ImportOptions()
    source, cohort_folder = local(source, "a source"), local(cohort_folder, "the cohort of an import")
    fmt = format_named(format_name) if format_name else detect(source)
    if fmt.name != "folder" and (options.images or options.masks or options.labelmaps or options.labels):
        do = "add --format folder, or leave out --image, --mask, --labelmap and --labels"
        raise BadInput("only the folder format takes files and label tables", where=f"format {fmt.name}", do=do)
    kept = read_kept(source)
    there = known_organs(cohort_folder)
    makers = Makers(source, fmt, options)
    reader = _Reader(str(source), options, absolute(cohort_folder), makers, kept, there)
    reader.fits = partial(fmt.recognises, source)
    cases = reader.read(fmt.read(source, options), on_case or (lambda _: None), checked=fmt.name == "dicom")
    declared = kept.organs if kept else {}
    _check_place(cohort_folder)
    merge(cohort_folder, cases, declared)
    notes = Notes.read(cohort_folder).joined(makers.notes)
    with writing(cohort_folder):
        merged = merge(cohort_folder, cases, declared)
        shared = tuple(shared_patients(cohort_folder, fmt.name))  # a damaged record is found before anything is written
        notes.save(cohort_folder)
        merged.cohort.save()
        ids = tuple(case.id for case in cases)
        facts = options.model_dump(mode="json", exclude_defaults=True)
        note_import(cohort_folder, absolute(source), fmt.name, facts, list(ids))
    geometries = geometries_of(merged.cohort, options.reading)
    groups = duplicates(merged.cohort, geometries, options.reading, ids)
    same = tuple(told(merged.cohort, group) for group in groups)
    return ImportReport(ids, merged.organs_added, reader.told(), (*same, *shared, *merged.conflicts))


def _check_place(folder: Path) -> None:
    """A review goes with the cohort that it is of."""
    there = Kind.COHORT in kinds_in(folder)
    refuse_others(folder, Kind.COHORT, *([Kind.REVIEW] if there else []))


@dataclass
class _Reader:
    """Turns raw cases into the ledger's, and collects what is wrong, ambiguous or worth a note on the way."""

    source: str
    options: ImportOptions
    folder: Path
    makers: Makers
    kept: Kept | None = None
    there: frozenset[str] = frozenset()
    faults: list[BadInput] = field(default_factory=list)
    ambiguous: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    fits: Callable[[], bool] = lambda: True
    renamed: list[str] = field(default_factory=list)
    coming: dict[str, None] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    unusable: list[str] = field(default_factory=list)
    was: dict[str, KeptCase] = field(default_factory=dict)

    def read(self, raws: Iterator[RawCase], on_case: Callable[[str], None], *, checked: bool) -> list[Case]:
        """The source's cases. `checked`: the format has looked at their CT and masks already."""
        cases: list[Case] = []
        with Checks(self.options.reading) as checks:
            try:
                for raw in map(self._prefixed, raws):
                    cases.append(self._case(raw))
                    if not checked:
                        checks.add(raw)
                    on_case(raw.id)
                    self._refuse_too_many(cases)
            except BadInput as error:
                self._note_faults(error)
            cases = self._readable(cases, checks.results())
        self._check_whole(cases)
        return cases

    def _refuse_too_many(self, cases: list[Case]) -> None:
        """Said as soon as it is known: to read on, or to ask about organs that can't all come in, helps nobody."""
        coming = dict.fromkeys(key for case in cases[-1:] for key, cell in case.cells.items() if cell != UNANNOTATED)
        self.coming |= coming | {key: None for case, key in self.ambiguous if case == cases[-1].id}
        new = [key for key in self.coming if key not in self.there]
        if new and len(new) + len(self.there) > MAX_ORGANS:
            self.ambiguous.clear()
            raise too_many(self.there, new, self.source)

    def _readable(self, cases: list[Case], checks: list[Checked]) -> list[Case]:
        """The cases whose CT can be read; the others are faults, or are left out with a note, as the user says."""
        out: set[str] = set()
        for row in checks:
            if row.unreadable and self.options.unreadable == "leave-out":
                out.add(row.id)
                self.notes.setdefault(f"left out, since the CT can't be read: {row.unreadable.what}", []).append(row.id)
            elif row.unreadable:
                self._note_faults(row.unreadable)
            for fault in row.others if self.options.off_grid == "refuse" else ():
                self._note_faults(fault)
            if row.off_grid or (row.others and self.options.off_grid == "keep"):
                self.notes.setdefault(OFF_GRID, []).append(row.id)
        for case in out:
            self.makers.leave_out(case)
        self.ambiguous = [pair for pair in self.ambiguous if pair[0] not in out]
        return [case for case in cases if case.id not in out]

    def _prefixed(self, raw: RawCase) -> RawCase:
        """Without a pattern every case is its own patient, under its full id; an export kept the patients."""
        kept = (self.kept.cases.get(raw.uid) or self.kept.cases.get(raw.id)) if self.kept else None
        if kept:
            raw = replace(raw, id=kept.id, patient=raw.patient if self.options.patient_pattern else kept.patient)
            self.was[self.options.prefix + kept.id] = kept
        name = self.options.prefix + case_id(raw.id)
        if case_id(raw.id) != raw.id:
            self.renamed.append(f"{raw.id!r} is {name}")
        return replace(raw, id=name, patient=name if raw.patient == raw.id else raw.patient)

    def told(self) -> tuple[str, ...]:
        notes = (*(f"{some(ids)}: {note}" for note, ids in self.notes.items()), *self.makers.told())
        return (f"names that can't be case ids: {some(self.renamed)}", *notes) if self.renamed else notes

    def _case(self, raw: RawCase) -> Case:
        cells: dict[str, Cell] = {}
        named: dict[str, str] = {}
        for name, cell in raw.cells.items():
            try:
                key = self.options.names.key(name)
            except BadInput as error:
                self._note_faults(error)
                continue
            if key in named:
                got, do = f"{named[key]!r} and {name!r}", "tell them apart in a file given with --synonyms"
                self._note_faults(BadInput("two masks for one organ", where=f"organ {key}", got=got, do=do))
            named[key] = name
            cells[key] = self._settled(raw, name, key, self._portable(self._made(raw, name, key, cell), raw.id))
        for note in raw.notes:
            self.notes.setdefault(note, []).append(raw.id)
        for name, why in raw.unusable.items():
            self.seen |= {self.options.names.key(name)} if self.options.wanted else set()
            self.unusable.append(f"case {raw.id}, organ {name}: {why}")
        self.seen |= set(named)
        return Case(raw.id, raw.patient, self._inside(raw.image), cells)

    def _made(self, raw: RawCase, name: str, key: str, cell: Cell) -> Cell:
        """As the user says who made it; an export has said it already, and needs no sign."""
        return cell if raw.id in self.was else self.makers.taken(raw, name, key)

    def _settled(self, raw: RawCase, name: str, key: str, cell: Cell) -> Cell:
        """An organ without a voxel is what the user says it is; in a part of the slices, absent means none there.

        An export has said it already.
        """
        if raw.id in self.was:
            settled = self.was[raw.id].settled(key, cell)
            if not settled.path and name not in raw.empty and not cell.ignored:
                note = f"{KEPT} says {str(settled) or 'unannotated'} of {key}, so that its mask is not read"
                self.notes.setdefault(f"{note}; delete the file if you drew it since", []).append(raw.id)
            return self.makers.as_said(settled)
        if name not in raw.empty:
            return cell
        if cell.auto or (raw.id, key) in self.makers.asked:
            return UNANNOTATED  # a program that found nothing says nothing
        if self.options.absent_means == "ask":
            self.ambiguous.append((raw.id, key))
        if self.options.absent_means == "absent":
            return cell if cell.ranges or cell.ignored else ABSENT
        return UNANNOTATED

    def _portable(self, cell: Cell, case_id: str) -> Cell:
        """The same cell with its path as the ledger has it; a fault if it would not read back as it is."""
        moved = replace(cell, path=self._inside(Path(cell.path)))
        try:
            kept = str(moved).isprintable() and parse_cell(str(moved)) == moved
        except BadInput:
            kept = False
        if not kept:
            self._note_faults(
                BadInput("the path can't stand in the ledger", where=f"case {case_id}", got=ascii(cell.path))
            )
        return moved

    def _inside(self, path: Path) -> str:
        """Relative to the cohort's folder for a file in it, absolute for others; with / between names everywhere."""
        path = Path(os.path.normpath(path))
        return (path.relative_to(self.folder) if path.is_relative_to(self.folder) else path).as_posix()

    def _note_faults(self, error: BadInput) -> None:
        known = {str(fault) for fault in self.faults}
        new = error.faults if isinstance(error, Faults) else (error,)
        self.faults += [fault for fault in new if str(fault) not in known]

    def _check_whole(self, cases: list[Case]) -> None:
        if self.makers.asked:
            self.faults.append(Unattributed(self.makers.asked, self.source))
        if self.ambiguous:
            self.faults.append(Ambiguous(self.ambiguous, self.source))
        if not cases and not self.faults:
            what = "the source has no cases"
            self.faults.append(BadInput(what, where=self.source) if self.fits() else instead(what, Path(self.source)))
        if self.unusable and not self.faults and not any(case.cells for case in cases):
            self.faults.append(BadInput("no mask can be used", where=self.source, got=some(self.unusable)))
        for key in sorted(self.options.wanted - self.seen) if cases else ():
            do = "check the name; without --organs every organ is imported"
            self.faults.append(BadInput("the source has no such organ", where="--organs", got=repr(key), do=do))
        raise_all(self.faults)
