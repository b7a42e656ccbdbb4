"""Signs that a program drew masks: in their headers, in what lies beside them, in names, in how they are laid out.

A sign makes an import ask; it never decides. What a header or a file beside says is sure enough to be kept on record.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from smiler.domain.cells import annotated
from smiler.domain.endings import ending_of, stem_of
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json
from smiler.domain.origin import drawn_by, note_in
from smiler.domain.provenance import beside
from smiler.formats.nifti_header import fields, read_block
from smiler.formats.nifti_stream import opened
from smiler.formats.numbering import LABEL_TABLES

MOST_HEADER_BYTES, MOST_JSON_BYTES, MOST_JSON_FILES = 1 << 18, 1 << 16, 50
TOTALSEGMENTATOR, NNUNET = "TotalSegmentator", "nnU-Net"
PROGRAMS: Mapping[str, str] = {
    TOTALSEGMENTATOR: r"total[ _-]?segmentator|totalseg",
    NNUNET: r"nn[ _-]?u[ _-]?net(v2)?(?![ _-]*(raw|preprocessed|format))",
    "MONAI": r"monai([ _-]?label|[ _-]?deploy)?|auto3dseg|vista[ _-]?3d",
    "MOOSE": r"moosez?",
    "FastSurfer": r"fast[ _-]?surfer",
    "SynthSeg": r"synthseg",
    "DeepMedic": r"deepmedic",
    "lungmask": r"lung[ _-]?mask[ _-]?(r231|ltrclobes)|lungmask",
    "MedSAM": r"med[ _-]?sam2?",
}
"""Programs that segment, and how they are written. A word of its own counts, a part of a word does not."""
_WRITTEN = {name: re.compile(rf"(?<![a-z])({pattern})(?![a-z])", re.IGNORECASE) for name, pattern in PROGRAMS.items()}
_FILES = {
    "statistics.json": TOTALSEGMENTATOR,
    "statistics_radiomics.json": TOTALSEGMENTATOR,
    "run_report.json": TOTALSEGMENTATOR,
    "predict_from_raw_data_args.json": NNUNET,
    "plans.json": NNUNET,
}
"""Files that only these programs leave beside their masks."""
_NOT_ASKED = ("dataset.json", "smiler.json", "dataset_description.json", "participants.json")
_LABEL_TABLE = (b"<CaretExtension>", b"<LabelTable>")
"""What TotalSegmentator writes into the header of a label map: names and colours."""
_OURS = re.compile(r'"made_by":\s*"(predict|relabel)"')
_MANY = 20
_STRUCTURES = frozenset(
    name for table in ("totalsegmentator-v1", "totalsegmentator-v2") for name in LABEL_TABLES[table].values()
)


@dataclass(frozen=True)
class Sign:
    """A program's name, empty where it is not known, what shows it, and whether that is sure."""

    program: str
    what: str
    sure: bool = True


def program_in(text: str) -> str:
    """The program that a text names, or an empty text."""
    return next((name for name, written in _WRITTEN.items() if written.search(text)), "")


@dataclass
class Signs:
    """Signs of a source's masks. layout: the program whose output is laid out as the source is, if there is one."""

    source: Path
    layout: str = ""
    _files: dict[Path, Sign | None] = field(default_factory=dict)
    _folders: dict[Path, Sign | None] = field(default_factory=dict)

    def of(self, path: Path, case: str, organ: str, about: Mapping[str, str]) -> Sign | None:
        """The first sign that a program drew an organ's mask. about: what a DICOM object says of itself."""
        if about:
            return _of_dicom(about)
        if not path.is_file() or not ending_of(path.name):
            return None
        if path not in self._files:
            self._files[path] = _in_header(path) or self._beside(path)
        return _in_note(path, case, organ) or self._files[path] or self._in_names(path) or self._in_layout()

    def _beside(self, path: Path) -> Sign | None:
        folders = [path.parent, path.parent / stem_of(path.name)]  # `predict --labelmap` leaves its note in the second
        if path.parent != self._top and path.parent.is_relative_to(self._top):
            folders.append(path.parent.parent)
        for folder in folders:
            if folder not in self._folders:
                self._folders[folder] = _in_folder(folder)
            if self._folders[folder]:
                return self._folders[folder]
        return None

    def _in_names(self, path: Path) -> Sign | None:
        parts = path.relative_to(self._top).parts if path.is_relative_to(self._top) else (path.name,)
        for name in (self._top.name, *parts):
            if program := program_in(name):
                return Sign(program, f"the name {name!a}", sure=False)
        return None

    def _in_layout(self) -> Sign | None:
        return Sign(self.layout, "the layout", sure=False) if self.layout else None

    @cached_property
    def _top(self) -> Path:
        return self.source.absolute()


def _of_dicom(about: Mapping[str, str]) -> Sign | None:
    """A kind that is told settles it: only where it is empty the names count."""
    program = program_in(" ".join((about.get("algorithm", ""), about.get("manufacturer", ""))))
    if about.get("kind") == "AUTOMATIC":
        return Sign(program or about.get("algorithm") or "a program", "its type AUTOMATIC")
    return Sign(program, "the algorithm or manufacturer that it names") if program and not about.get("kind") else None


def _in_header(path: Path) -> Sign | None:
    text = _header_text(path)
    if all(part in text for part in _LABEL_TABLE):
        return Sign(TOTALSEGMENTATOR, f"the table of labels in the header of {path.name}")
    program = program_in(text.decode("latin-1"))
    return Sign(program, f"the header of {path.name}") if program else None


def _header_text(path: Path) -> bytes:
    """What the header says in words; nothing of a file that can't be read, of which the reading will say more."""
    try:
        with opened(path) as source:
            if not ending_of(path.name).lower().startswith(".nii"):
                return source.head(MOST_HEADER_BYTES // 16).partition(b"\n\n")[0]
            block = read_block(source)
            values = fields(block)
            rest = int(min(max(float(values["vox_offset"]) - len(block), 0), MOST_HEADER_BYTES))
            words = [bytes(values[name].tobytes()) for name in ("descrip", "aux_file", "intent_name")]
            return b" ".join((*words, source.head(rest) if rest > 4 else b""))
    except (BadInput, ValueError, OverflowError):
        return b""


def _in_note(path: Path, case: str, organ: str) -> Sign | None:
    """A note beside the mask. What a reviewer accepted, or drew, is known to be so and needs no question."""
    about = Path(beside(str(path)))
    try:
        if not about.is_file():
            return None
        told = read_json(about)
        note = note_in(told, case, organ, about)
    except BadInput:
        return None
    if note is not None and not note.get("origin") and drawn_by(annotated(str(path)), note) in ("accepted", "unknown"):
        return Sign(str(note.get("tool") or note.get("made_by")), f"{about.name} beside it")
    program = program_in(str(told)) if note is not None and "made_by" not in note else ""
    return Sign(program, f"{about.name} beside it") if program else None


def _in_folder(folder: Path) -> Sign | None:
    """Files that a program leaves beside masks, and files that name one."""
    if not folder.is_dir():
        return None
    volumes = {stem_of(path.name) for path in folder.iterdir() if ending_of(path.name)}
    names = sorted(path for path in folder.glob("*.json") if path.name not in _NOT_ASKED and path.stem not in volumes)
    for path in names[:MOST_JSON_FILES]:
        program = _FILES.get(path.name) or _named_in(path)
        if program:
            return Sign(program, f"{path.name} beside it")
    if len(volumes & _STRUCTURES) >= _MANY:
        return Sign(TOTALSEGMENTATOR, f"{_MANY} or more masks named as its structures", sure=False)
    return None


def _named_in(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_JSON_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return program_in(text) or ("smiler" if _OURS.search(text) else "")
