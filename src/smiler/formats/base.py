"""What a format is, what it reads, and what the user may say about a source."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from smiler.domain.cells import Cell, SliceRange, annotated
from smiler.domain.cohort import CASE_ID, Case
from smiler.domain.endings import VOLUMES, ending_of, stem_of
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.domain.files import read_json
from smiler.domain.geometry import Geometry
from smiler.domain.remote import absolute as absolute
from smiler.domain.signpost import instead
from smiler.formats.numbering import checked_table
from smiler.formats.synonyms import Synonyms, load_synonyms
from smiler.formats.volumes import Grid, ReadOptions, read_labels

Item = TypeVar("Item")
LONGEST_PREFIX = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class ImportOptions(BaseModel):
    """What the user says about a source; whatever isn't said is never guessed.

    absent_means: what a declared organ without a voxel in a case is; "ask" refuses and lists every such case.
    taken_as: who the masks are by. "expert": an expert drew or accepted each; "proposals": a program's, which nobody
    has accepted; "ask" takes what no sign shows to be a program's as an expert's, and refuses the rest.
    automatic_means: what a DICOM segment of type AUTOMATIC is, a proposal or an annotation that an expert accepted;
    taken_as goes before it.
    unreadable: what happens to a case whose CT can't be read. off_grid: to a mask that has another size than its CT.
    same_organ: what several DICOM segments or ROIs of one organ are: a fault, or its parts.
    prefix: goes before every case id, where two sources use the same ones. reading: for CT that don't speak for
    themselves.
    organs: import only these (all if empty). synonyms: the user's own table of names.
    patient_pattern: a regular expression with one group that finds the patient in a case id; without it each case is
    its own patient. images, masks, labelmaps (files or folders; relative ones start at the source) and labels
    (number -> organ) are for the folder format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    absent_means: Literal["ask", "absent", "unannotated"] = "ask"
    taken_as: Literal["ask", "expert", "proposals"] = "ask"
    automatic_means: Literal["auto", "annotated"] = "auto"
    unreadable: Literal["refuse", "leave-out"] = "refuse"
    off_grid: Literal["refuse", "keep"] = "refuse"
    same_organ: Literal["refuse", "unite"] = "refuse"
    prefix: str = ""
    reading: ReadOptions = ReadOptions()
    organs: tuple[str, ...] = ()
    labels: Mapping[int, str] = {}
    images: Path | None = None
    masks: Mapping[str, Path] = {}
    labelmaps: Path | None = None
    patient_pattern: str | None = None
    synonyms: Path | None = None

    @field_validator("labels")
    @classmethod
    def _is_a_table(cls, labels: Mapping[int, str]) -> Mapping[int, str]:
        return checked_table([(str(number), name) for number, name in labels.items()], "--labels")

    @field_validator("prefix")
    @classmethod
    def _begins_an_id(cls, prefix: str) -> str:
        if prefix and not CASE_ID.fullmatch(prefix):
            do = "use letters, digits, '.', '_' and '-'"
            raise BadInput("not a usable beginning of a case id", where="--prefix", got=repr(prefix), do=do)
        return prefix

    @field_validator("patient_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            got = f"{pattern!r}: {error}"
            raise BadInput("not a regular expression", where="--patient-pattern", got=got) from error
        if groups != 1:
            do = "put the part that names the patient, and nothing else, in one pair of round brackets"
            raise BadInput("the pattern needs exactly one group", where="--patient-pattern", got=repr(pattern), do=do)
        return pattern

    @property
    def automatic_is_accepted(self) -> bool:
        """Whether an expert accepted what a DICOM object says a program drew."""
        return self.taken_as == "expert" or (self.taken_as == "ask" and self.automatic_means == "annotated")

    @cached_property
    def names(self) -> Synonyms:
        """The table of names: the shipped one with the user's over it."""
        return load_synonyms(self.synonyms)

    @cached_property
    def wanted(self) -> frozenset[str]:
        """Keys of the organs to import; empty for all."""
        return frozenset(map(self.names.key, self.organs))

    def wants(self, name: str) -> bool:
        """Whether a source's organ is to be imported."""
        try:
            return not self.wanted or self.names.key(name) in self.wanted
        except BadInput:
            return False

    def patient_of(self, case_id: str) -> str:
        """The patient of a case: what the pattern finds in its id, or the id."""
        if self.patient_pattern is None:
            return case_id
        found = re.search(self.patient_pattern, case_id)
        if not found or not found[1]:
            do = "change --patient-pattern or leave it out"
            raise BadInput("the pattern finds no patient in the case id", where=f"case {case_id!r}", do=do)
        return found[1]


@dataclass(frozen=True)
class RawCase:
    """One case of a source, case and organs under the names that the source uses, paths absolute.

    `empty` names organs that the source declares and whose mask or labels have no voxel here: absent, or not looked at?
    uid: of its DICOM series, by which an export finds it again. unusable: organs whose mask is there and can't be used,
    and why. about: what a DICOM object says of how an organ's mask was made: kind, algorithm, manufacturer.
    """

    id: str
    patient: str
    image: Path
    cells: Mapping[str, Cell]
    notes: tuple[str, ...] = ()
    empty: frozenset[str] = field(default_factory=frozenset)
    uid: str = ""
    unusable: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        usable = case_id(self.id)
        Case(usable, usable if self.patient == self.id else self.patient, str(self.image))


@dataclass(frozen=True)
class Format:
    """A layout that can be imported. `looks_for` says by what `recognises` knows it; `read` is lazy.

    own_layout: of one published data set; it goes before the general layouts that recognise it too.
    program: whose output is laid out so, too.
    """

    name: str
    title: str
    looks_for: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ImportOptions], Iterator[RawCase]]
    own_layout: bool = False
    program: str = ""


@dataclass(frozen=True)
class LabelMap:
    """Which labels a label map holds in each axial slice, from the feet up; read in one pass.

    unusable: labels whose masks can't be used, and why; notes: what was left out of the others.
    """

    path: Path
    planes: tuple[frozenset[int], ...]
    grid: Grid | None = None
    unusable: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, geometry: Geometry | None = None) -> "LabelMap":
        """Read a label map; a DICOM-SEG or RTSTRUCT together with the geometry of its CT."""
        drawn = read_labels(path, geometry=geometry)
        seen = (np.flatnonzero(np.bincount(plane.ravel())).tolist() for plane in drawn.codes)
        planes = tuple(frozenset(label for code in codes for label in drawn.labels_of(code)) for codes in seen)
        return cls(path, planes, drawn.grid, drawn.unusable, drawn.notes)

    @property
    def values(self) -> frozenset[int]:
        """Labels other than 0 that have a voxel."""
        return frozenset[int]().union(*self.planes) - {0}

    def cells(
        self, organs: Mapping[str, tuple[int, ...]], ranges: Iterable[SliceRange] = (), ignored: int = 0
    ) -> dict[str, Cell]:
        """One cell for each organ, from its labels; no labels: any voxel > 0."""
        return {name: annotated(str(self.path), labels, ranges, ignored) for name, labels in organs.items()}

    def empty(self, organs: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
        """Organs without a voxel."""
        values = self.values
        return frozenset(name for name, labels in organs.items() if not values & set(labels or values))

    def refuse_undeclared(self, declared: Iterable[int], where: str) -> None:
        """BadInput if the map holds labels that the source doesn't declare."""
        unknown = sorted(self.values - set(declared))
        if unknown:
            got = ", ".join(map(str, unknown))
            raise BadInput("the label map holds undeclared labels", where=where, got=got, do="declare or remove them")


def read_mask(path: Path, where: str) -> LabelMap:
    """A mask: at most one label other than 0; BadInput for a label map."""
    mask = LabelMap.read(path)
    if len(mask.values) > 1:
        got = f"labels {', '.join(map(str, sorted(mask.values)))} in {path}"
        raise BadInput("a mask holds one organ", where=where, got=got, do="import it as a label map with --labels")
    return mask


def each(
    items: Iterable[Item], read_one: Callable[[Item], RawCase], faults: Sequence[BadInput] = ()
) -> Iterator[RawCase]:
    """Read one case after the other; the faults are raised together when the good cases are through."""
    found = list(faults)
    for item in items:
        try:
            case = read_one(item)
        except BadInput as error:
            found += error.faults if isinstance(error, Faults) else [error]
        else:
            yield case
    raise_all(found)


def some(names: Sequence[str]) -> str:
    """The first 20 names, and how many more there are."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def case_id(name: str) -> str:
    """The case id that a name in a source stands for: itself where it is one, else what can be kept of it and a hash.

    The hash keeps apart what looks alike without the letters that an id can't have, in this import and in the next.
    BadInput for a name of which nothing can be shown.
    """
    if CASE_ID.fullmatch(name):
        return name
    if not name.strip() or not name.isprintable():
        do = "use letters, digits, '.', '_' and '-', beginning with a letter or a digit"
        raise BadInput("not a usable case id", where=f"case {name!a}", do=do)
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    kept = _UNSAFE.sub("_", plain).strip("._-")[:LONGEST_PREFIX] or "case"
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def case_name(path: Path, ending: str = "") -> str:
    """File name without the ending of a volume, nor `ending`."""
    return stem_of(path.name).removesuffix(ending)


def volume_files(folder: Path) -> list[Path]:
    """The volumes of a folder in order of their names, without hidden ones (._x is a Mac's shadow of x)."""
    if not folder.is_dir():
        return []
    return sorted(absolute(p) for p in folder.iterdir() if ending_of(p.name) and not p.name.startswith("."))


def volumes_at(path: Path) -> list[Path]:
    """The volumes of this path and name, whatever their endings."""
    there = [path.with_name(path.name + ending) for ending in VOLUMES]
    found = [file for file in there if file.is_file()]
    return found or [file for file in volume_files(path.parent) if stem_of(file.name) == path.name]


def present(path: Path) -> list[Path]:
    """The file that a list names, or the volume there that differs from it in nothing but its ending."""
    if path.is_file():
        return [path]
    return volumes_at(path.with_name(stem_of(path.name))) if stem_of(path.name) else []


def the_one(files: Sequence[Path], where: str) -> Path:
    """The only file of several candidates; BadInput where there are two."""
    if len(files) > 1:
        raise BadInput("two files for one case", where=where, got=" and ".join(map(str, files)), do="remove one")
    return files[0]


def read_manifest(source: Path) -> dict[str, Any]:
    """`dataset.json` of a source, a table with a table of labels."""
    path = source / "dataset.json"
    if not path.is_file():
        raise instead("the format needs a dataset.json", source)
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("labels"), dict):
        raise BadInput("not a dataset.json: it has no table of labels", where=str(path))
    return manifest


def peek_manifest(source: Path) -> dict[str, Any]:
    """The same, or an empty table where there is none."""
    try:
        return read_manifest(source)
    except BadInput:
        return {}
