"""A cohort on which others may work meanwhile: a cell changes only where its file still says what was read."""

from dataclasses import dataclass, replace
from pathlib import Path

from smiler.domain.cohort import Case, Cohort
from smiler.domain.ledger import cohort_at, write_cohort
from smiler.domain.organs import Organ, OrganSet


@dataclass(frozen=True)
class Amended:
    """The cohort as it is now. `left`: (case, organ) pairs that somebody else changed meanwhile; they stay."""

    cohort: Cohort
    left: tuple[tuple[str, str], ...] = ()


def amend(folder: Path, before: Cohort | None, after: Cohort) -> Amended:
    """Write what makes `after` of `before` into the cohort in `folder`, and nothing else; for who holds its lock.

    Rows, organs and cells that came or changed since `before` was read stay; rows that went do not come back.
    """
    now = cohort_at(folder, lost_proposals=True)
    if now is None:
        written = replace(after, folder=folder)
        write_cohort(written)
        return Amended(written)
    old, new = ({case.id: case for case in cases} for cases in (before.cases if before is not None else (), after))
    left: list[tuple[str, str]] = []
    cases = [_case(case, old.get(case.id), new.get(case.id), left) for case in now]
    there = {case.id for case in now}
    cases += [case for case in after if case.id not in there and case.id not in old]
    amended = replace(now, organs=united(now.organs, after.organs), cases=tuple(cases))
    write_cohort(amended)
    return Amended(amended, tuple(left))


def _case(now: Case, old: Case | None, new: Case | None, left: list[tuple[str, str]]) -> Case:
    if old is None or new is None:
        return now
    changed = [key for key in {*old.cells, *new.cells} if str(new.cell(key)) != str(old.cell(key))]
    same = [key for key in changed if str(now.cell(key)) == str(old.cell(key))]
    left += [(now.id, key) for key in sorted(set(changed) - set(same))]
    image = new.image if now.image == old.image else now.image
    return replace(now, image=image).with_cells({key: new.cell(key) for key in same})


def united(old: OrganSet, new: OrganSet) -> OrganSet:
    """The old organs as they are, but for relations to new ones, which follow."""
    added = set(new.keys) - set(old.keys)
    return OrganSet((*(_related(organ, new, added) for organ in old), *(o for o in new if o.key in added)))


def _related(organ: Organ, new: OrganSet, added: set[str]) -> Organ:
    if organ.key not in new:
        return organ
    other = new[organ.key]
    whole = other.part_of if other.part_of in added else None
    return replace(organ, part_of=organ.part_of or whole, overlaps=organ.overlaps | (other.overlaps & added))
