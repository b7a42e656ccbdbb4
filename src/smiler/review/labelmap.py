"""All organs of a volume as one label map, and what a map that comes back makes of each organ.

Organs have the numbers 1 to K in the cohort's order. Where organs share a voxel, a part lies on its whole, and of two
others the one declared first on top. What lies below is not lost: only voxels that differ from the map that was given
out count as drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.files import scratch
from smiler.domain.organs import OrganSet
from smiler.formats.nifti import read_header, read_labels
from smiler.review.desk import Desk, Remark
from smiler.review.errors import Pair, Refused
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.orientation import Shape, ras, ras_shape
from smiler.review.states import TRUSTED

Map = NDArray[np.uint8]
MOST_VALUES = 1 << 16
WAY = "on the way to a label map: the voxels that it leaves"


def drawn_map(organs: OrganSet, masks: Mapping[str, Mask], shape: Shape) -> Map:
    """One map (i, j, k), RAS+, of all masks."""
    whole = np.zeros(shape, dtype=np.uint8, order="F")
    for organ in sorted(masks, key=lambda key: (len(organs.wholes(key)), -organs.index(key))):
        mask = masks[organ]
        whole[mask.box.slices][mask.inside != 0] = organs.index(organ) + 1
    return whole


def masks_of(desk: Desk, case: str, numbers: Mapping[str, int]) -> dict[str, Mask]:
    """The mask of a revision of each organ, empty for number 0."""
    ledger = desk.ledger
    return {organ: desk.mask(ledger.revision(Pair(case, organ), n), case) for organ, n in numbers.items()}


def head_numbers(desk: Desk, case: str) -> dict[str, int]:
    """The newest revision of each organ, 0 where nothing is there."""
    heads = desk.ledger.heads_of(case)
    return {organ: heads[organ].number if organ in heads else 0 for organ in desk.cohort.organs.keys}


def read_map(desk: Desk, case: str, content: bytes, names: Sequence[str]) -> Map:
    """A NIfTI file on the CT's grid as a map. names: the organ of each of its values 1, 2, ...; Refused for another."""
    found = ras(_read(desk, case, content))
    seen = np.zeros(MOST_VALUES, dtype=bool)
    for part in found:
        seen[part] = True
    table = np.zeros(MOST_VALUES, dtype=np.uint8)
    organs = desk.cohort.organs
    for value in map(int, np.flatnonzero(seen)):
        name = names[value - 1] if 0 < value <= len(names) else ""
        if value and name not in organs:
            got, do = ascii(name[:40] or value), f"use {', '.join(organs.keys)}, and erase what is none of them"
            raise Refused(422, "the label map has voxels of no organ of the cohort", where="label", got=got, do=do)
        table[value] = organs.index(name) + 1 if value else 0
    numbered: Map = table[found]
    return numbered


def _read(desk: Desk, case: str, content: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    wanted = desk.grid(case).geometry
    try:
        with scratch(desk.folder, "label", content) as file:
            geometry = read_header(file).geometry
            if not geometry.agrees(wanted):
                do = "save the labels with the CT as reference volume"
                what = "the label map does not lie on the CT's grid"
                raise Refused(422, what, where="label", got=f"{geometry}, expected {wanted}", do=do)
            return read_labels(file)[0]
    except OSError as error:
        raise Refused(507, "cannot write the file", where="label", got=error.strerror or str(error)) from error
    except Refused:
        raise
    except BadInput as error:
        do = error.do or "send a NIfTI file (.nii.gz)"
        raise Refused(422, error.what, where="label", got=error.got, do=do) from error


@dataclass(frozen=True)
class Differences:
    """New masks by organ, and the organs that the map no longer shows."""

    changed: dict[str, Mask]
    emptied: tuple[str, ...]


def differences(organs: OrganSet, masks: Mapping[str, Mask], found: Map, named: Sequence[str]) -> Differences:
    """What `found` makes of the masks; organs that are not named stay as they are."""
    given = drawn_map(organs, masks, found.shape)
    touched = Mask.of(found != given, found.shape)
    changed, emptied = {}, []
    for organ in organs.keys if touched.voxels else ():
        number = organs.index(organ) + 1
        if organ not in named:
            continue
        if (found == number).any():
            made = _drawn(organs, organ, masks[organ], touched, found)
            changed.update({organ: made} if made else {})
        elif (given == number).any():
            emptied.append(organ)
    return Differences(changed, tuple(emptied))


def _drawn(organs: OrganSet, organ: str, was: Mask, touched: Mask, found: Map) -> Mask | None:
    """The organ's new mask: what was drawn, and what was there where nothing was; None if that is the same."""
    box = was.box.around(touched.box)
    here, before, new = found[box.slices], was.among(box) != 0, touched.among(box) != 0
    mine = _table(organs, {organ, *organs.parts(organ)})[here]
    if not (new & (mine != before)).any():
        return None
    hidden = _table(organs, organs.excluders(organ))[here]
    return Mask.of(np.where(new, mine, before & ~hidden), was.shape, box.start)


def _table(organs: OrganSet, keys: set[str] | frozenset[str]) -> NDArray[np.bool_]:
    """Which numbers of a map stand for one of these organs."""
    table = np.zeros(256, dtype=bool)
    table[[organs.index(key) + 1 for key in keys]] = True
    return table


@dataclass
class Saving:
    """Saves new masks of one volume, each based on the revision that its reviewer was given."""

    desk: Desk
    reviewer: str
    case: str
    numbers: dict[str, int]
    saved: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    stale: dict[str, int | None] = field(default_factory=dict)

    def save(self, changed: Mapping[str, Mask]) -> None:
        """In an order in which none takes voxels that another still holds; where there is none, one gives way first."""
        waiting = dict(changed)
        while self._pass(waiting) or self._give_way(waiting):
            pass

    def _pass(self, waiting: dict[str, Mask]) -> bool:
        """Try each once; whether one of them was done."""
        before = len(waiting)
        for organ, mask in list(waiting.items()):
            if self._correct(organ, mask, Remark()):
                del waiting[organ]
        return 0 < len(waiting) < before

    def _give_way(self, waiting: Mapping[str, Mask]) -> bool:
        """Let a verified organ leave what it loses, before it takes what it gains; whether one did."""
        heads = self.desk.ledger.heads_of(self.case)
        for organ, mask in waiting.items():
            head = heads.get(organ)
            if head is None or head.state not in TRUSTED or head.number != self.numbers[organ]:
                continue
            was = self.desk.mask(head, self.case)
            rest = Mask.of(was.inside & mask.among(was.box), was.shape, was.box.start)
            if 0 < rest.voxels < was.voxels:
                return self._correct(organ, rest, Remark(WAY))
        return False

    def _correct(self, organ: str, mask: Mask, remark: Remark) -> bool:
        """Whether it needs no further try."""
        pair, base = Pair(self.case, organ), self.numbers[organ]
        key = Asked.of(self.reviewer, "", pair, base, f"label map {mask.digest}").what
        try:
            answer = self.desk.correct(Asked.of(self.reviewer, key, pair, base, mask.digest), pair, mask, remark)
        except Refused as error:
            self.refused[organ] = f"{error.what} ({error.got or error.do})"
            return False
        self.refused.pop(organ, None)
        if answer.status == 200:
            self.numbers[organ] = self.saved[organ] = answer.body["number"]
        else:
            self.stale[organ] = answer.body["kept"]
        return True


def ct_shape(desk: Desk, case: str) -> Shape:
    """The extent (i, j, k) of the CT, RAS+."""
    return ras_shape(desk.grid(case).geometry)
