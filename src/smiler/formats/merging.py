"""Merge new cases into a cohort by organ key: new columns, relations, and what the two conventions disagree about."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from smiler.domain.cells import UNANNOTATED, Cell
from smiler.domain.cohort import LEDGER, Case, Cohort
from smiler.domain.endings import ending_of
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.ledger import cohort_at
from smiler.domain.organs import MAX_ORGANS, Organ, OrganSet
from smiler.formats.anatomy import ANATOMY, PIECES, nearest_whole, organ_of
from smiler.formats.base import some


@dataclass(frozen=True)
class Merged:
    """The cohort with the new cases, not yet saved."""

    cohort: Cohort
    organs_added: tuple[str, ...]
    conflicts: tuple[str, ...]


def merge(folder: Path, cases: Sequence[Case], declared: Mapping[str, Organ] | None = None) -> Merged:
    """The cohort in `folder` (or a new one) with these cases; reads, writes nothing. BadInput lists every fault.

    declared: organs as the source itself describes them, for those that are new.
    A case that the cohort has already, of the same image, gets the organs that nobody has looked for there.
    """
    old = cohort_at(folder)
    cases = [replace(case, cells={k: c for k, c in case.cells.items() if c != UNANNOTATED}) for case in cases]
    _refuse_known(old, folder, cases)
    keys = tuple(dict.fromkeys(key for case in cases for key in case.cells if old is None or key not in old.organs))
    declared = declared or {}
    keys = (*(key for key in declared if key in keys), *(key for key in keys if key not in declared))
    organs = _organs(() if old is None else old.organs.organs, keys, cases, declared)
    among = {case.id: case for case in cases}
    before = () if old is None else old.cases
    grown = [case.with_cells(among.pop(case.id).cells) if case.id in among else case for case in before]
    there = Cohort(folder, organs, ()) if old is None else old
    cohort = replace(there, organs=organs, cases=(*grown, *among.values()))
    raise_all([fault for case in cases for fault in _shared_labels(case, organs)])
    new = {case.id for case in cases}
    conflicts = (*_conflicts(cohort, new), *_joined(cohort, new), *_unrelated(organs, keys))
    return Merged(cohort, keys, conflicts)


def known_organs(folder: Path) -> frozenset[str]:
    """Keys of the organs that the cohort there has; none where there is none."""
    old = cohort_at(folder)
    return frozenset() if old is None else frozenset(old.organs.keys)


def _refuse_known(old: Cohort | None, folder: Path, new: Sequence[Case]) -> None:
    known = {case.id.lower(): case for case in (() if old is None else old.cases)}
    repeated = [case.id for case in new if case.id.lower() in known and not _adds(known[case.id.lower()], case, folder)]
    faults = []
    if repeated:
        do = f"remove their rows from {LEDGER} first, say --prefix, or import into another cohort"
        got = f"{len(repeated)}: {some(repeated)}"
        faults.append(BadInput("the cohort has these cases already", where="source", got=got, do=do))
    times = Counter(case.id.lower() for case in new)
    twice = [case.id for case in new if times[case.id.lower()] > 1]
    if twice:
        faults.append(BadInput("case ids that are used twice (capitals don't count)", where="source", got=some(twice)))
    raise_all(faults)


def _adds(old: Case, new: Case, folder: Path) -> bool:
    """Whether the new case is the old one's image with organs for which nobody has looked there."""
    same = old.id == new.id and (folder / old.image).resolve() == (folder / new.image).resolve()
    return same and bool(new.cells) and all(old.cell(key) == UNANNOTATED for key in new.cells)


def _organs(
    old: Sequence[Organ], keys: Sequence[str], cases: Sequence[Case], declared: Mapping[str, Organ]
) -> OrganSet:
    """Old organs as the user has them, but for relations to the new ones, which follow."""
    known = [organ.key for organ in old]
    among = [*known, *keys]
    if not 1 <= len(among) <= MAX_ORGANS:
        if not among:
            do = "import a source with annotations first; CT without any can be added to a cohort that has organs"
            raise BadInput("nothing is annotated in the source, and a cohort needs an organ", where="source", do=do)
        raise too_many(known, keys, "source")
    new = [
        _cut(declared[key], among) if key in declared else _new_organ(key, among, number, cases)
        for number, key in enumerate(keys, start=len(known))
    ]
    return OrganSet((*(_related(organ, known, among) for organ in old), *new))


def too_many(known: Collection[str], new: Sequence[str], where: str) -> BadInput:
    """The fault of more organs than a cohort holds: how many they are, all their names, and how to choose."""
    room = MAX_ORGANS - len(known)
    there = f", beside the {len(known)} that the cohort has" if known else ""
    do = f"choose up to {room} of them, as in --organs {','.join(new[:3])}" if room else "import into another cohort"
    got = f"{len(new)}{there}: {', '.join(new)}"
    return BadInput(f"a cohort has 1 to {MAX_ORGANS} organs", where=where, got=got, do=do)


def _cut(organ: Organ, among: Sequence[str]) -> Organ:
    """The organ with its relations to those in `among`."""
    part_of = organ.part_of if organ.part_of in among else nearest_whole(organ.key, among)
    return replace(organ, part_of=part_of, overlaps=organ.overlaps & frozenset(among))


def _related(organ: Organ, known: Sequence[str], among: Sequence[str]) -> Organ:
    """An old organ among new ones: part of a nearer whole, unless the user says otherwise, and overlapping some."""
    anatomy = ANATOMY.get(organ.key)
    if anatomy is None:
        return organ
    own = organ.part_of != nearest_whole(organ.key, known)
    part_of = organ.part_of if own else nearest_whole(organ.key, among)
    return replace(organ, part_of=part_of, overlaps=organ.overlaps | (anatomy.overlaps & (set(among) - set(known))))


def _new_organ(key: str, among: Sequence[str], number: int, cases: Sequence[Case]) -> Organ:
    """From anatomy; a source whose labels for one organ contain another's says itself which is part of which."""
    organ = organ_of(key, among, number)
    wholes = [other for other in among if other != key and _contains(other, key, cases)]
    size = {other: max(len(case.cell(other).labels) for case in cases) for other in wholes}
    shared = {other for other in among if key not in ANATOMY and other != key and _shares(key, other, cases)}
    organ = replace(organ, overlaps=organ.overlaps | shared)
    return replace(organ, part_of=min(wholes, key=size.__getitem__)) if wholes else organ


def _shares(a: str, b: str, cases: Sequence[Case]) -> bool:
    """Whether two organs of one label map have labels in common and labels of their own: regions that overlap."""
    pairs = [pair for case in cases if (pair := _of_one_file(case, a, b))]
    sets = [(set(one.labels), set(other.labels)) for one, other in pairs]
    return any(one & other and one - other and other - one for one, other in sets)


def _contains(whole: str, part: str, cases: Sequence[Case]) -> bool:
    pairs = [pair for case in cases if (pair := _of_one_file(case, whole, part))]
    return bool(pairs) and all(set(b.labels) < set(a.labels) for a, b in pairs)


def _of_one_file(case: Case, a: str, b: str) -> tuple[Cell, Cell] | None:
    """Both organs' cells where they are drawn, or proposed, in one label map."""
    one, other = case.cell(a), case.cell(b)
    alike = (one.status, one.auto) == (other.status, other.auto)
    drawn = alike and one.path == other.path and ending_of(one.path)
    return (one, other) if drawn and one.labels and other.labels else None


def _shared_labels(case: Case, organs: OrganSet) -> Iterator[BadInput]:
    for a, b in combinations(case.cells, 2):
        one, other = case.cell(a), case.cell(b)
        alike = not one.labels or not other.labels or set(one.labels) & set(other.labels)
        if one.path and one.path == other.path and alike and organs.exclusive(a, b):
            do = "say in cohort.toml that one is part_of the other or overlaps it, or leave one out with --organs"
            what = "two organs that exclude each other have one label"
            yield BadInput(what, where=f"case {case.id}, organs {a} and {b}", got=f"{one} and {other}", do=do)


def _conflicts(cohort: Cohort, new: set[str]) -> Iterator[str]:
    """Where label maps leave a part out of the organ it belongs to, and others may draw it in."""
    for part in cohort.organs.keys:
        for whole in sorted(cohort.organs.wholes(part)):
            pairs = {case.id: pair for case in cohort if (pair := _of_one_file(case, whole, part))}
            out = [name for name, (a, b) in pairs.items() if not set(a.labels) & set(b.labels)]
            within = [name for name in pairs if name not in out]
            if out and new & set(pairs):
                others = f"; it includes it in {some(within)}" if within else ""
                yield (
                    f"{whole} leaves out {part} in {some(out)}{others}. Where the part lies in the organ, "
                    f"write the organ's cells as PATH#{'+'.join(map(str, _united(pairs[out[0]])))}"
                )


def _joined(cohort: Cohort, new: set[str]) -> Iterator[str]:
    """Where some cases draw a whole and others only its parts: kidneys joined or split, portal with splenic vein.

    A tumour or cyst is a part that needs no conflict: its organ is drawn beside it.
    """
    for whole in cohort.organs.keys:
        parts = [key for key in cohort.organs.keys if key in PIECES.get(whole, ())]
        joined = [case.id for case in cohort if case.cell(whole).path and not any(case.cell(k).path for k in parts)]
        split = [case.id for case in cohort if any(case.cell(k).path for k in parts) and not case.cell(whole).path]
        if joined and split and new & {*joined, *split}:
            yield (
                f"{whole} is drawn as one in {some(joined)} and as {', '.join(parts)} in {some(split)}: the columns "
                f"stay apart, and each is unannotated where only the other is. Where all parts are in one label map, "
                f"write {whole} as PATH#1+2 too"
            )


def _unrelated(organs: OrganSet, keys: Sequence[str]) -> Iterator[str]:
    """New organs of which nobody says whether they lie in another."""
    for organ in (organs[key] for key in keys):
        if organ.key not in ANATOMY and organ.part_of is None and len(organs) > 1:
            yield (
                f"{organ.key} is not in the table of organs: it is taken to exclude every other organ. "
                "If it lies in one or overlaps one, write part_of or overlaps in cohort.toml"
            )


def _united(pair: tuple[Cell, Cell]) -> list[int]:
    return sorted({*pair[0].labels, *pair[1].labels})
