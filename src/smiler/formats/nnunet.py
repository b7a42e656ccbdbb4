"""nnU-Net (version 2): dataset.json with named labels, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from smiler.domain.cells import SliceRange
from smiler.domain.errors import BadInput
from smiler.formats.base import (
    ENDINGS,
    Format,
    ImportOptions,
    LabelMap,
    RawCase,
    absolute,
    case_name,
    each,
    nifti_files,
    peek_manifest,
    read_manifest,
)

DATA_SET = "Dataset"


@dataclass(frozen=True)
class Labels:
    """The label table: organ -> its labels (several for a region), and the value that means "not annotated"."""

    organs: Mapping[str, tuple[int, ...]]
    ignore: int | None = None

    @property
    def declared(self) -> frozenset[int]:
        """Every value that a label map may hold."""
        values = {label for labels in self.organs.values() for label in labels}
        return frozenset(values if self.ignore is None else values | {self.ignore})


@dataclass(frozen=True)
class _Files:
    id: str
    image: Path
    label: Path


def recognises(source: Path) -> bool:
    """A dataset.json whose labels are keyed by name, or a folder of such data sets (nnUNet_raw)."""
    return bool(_data_sets(source))


def _data_sets(source: Path) -> list[Path]:
    folders = [source, *sorted(source.glob(f"{DATA_SET}*"))]
    found = [folder for folder in folders if (manifest := peek_manifest(folder)) and _by_name(manifest)]
    return [source] if source in found else found


def _by_name(manifest: Mapping[str, Any]) -> bool:
    return not all(str(key).isdigit() for key in manifest["labels"])


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """The training cases. Nobody looked at voxels of the label `ignore`; slices full of it leave the slice ranges.

    Of a folder of data sets, cases of one id and one image become one case with the organs of all.
    """
    folders = _data_sets(source) or [source]
    if len(folders) == 1:
        yield from _read(folders[0], options)
        return
    cases: dict[str, RawCase] = {}
    for folder in folders:
        for raw in _read(folder, options):
            cases[raw.id] = _united(cases[raw.id], raw) if raw.id in cases else raw
    yield from cases.values()


def _united(one: RawCase, other: RawCase) -> RawCase:
    both = sorted(one.cells.keys() & other.cells.keys())
    if one.image.resolve() != other.image.resolve() or both:
        got = f"{one.image} and {other.image}" if not both else f"{', '.join(both)} twice"
        do = "import the data sets one by one, with --prefix"
        raise BadInput("cases of one id that are not one case", where=f"case {one.id}", got=got, do=do)
    notes = (*one.notes, *(note for note in other.notes if note not in one.notes))
    return replace(one, cells={**one.cells, **other.cells}, empty=one.empty | other.empty, notes=notes)


def _read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    manifest, where = read_manifest(source), str(source / "dataset.json")
    table = parse_labels(manifest["labels"], where)
    notes = _channel_notes(manifest, where)
    organs = {name: labels for name, labels in table.organs.items() if options.wants(name)}
    faults: list[BadInput] = []
    files = _listed(manifest, source, faults) if "dataset" in manifest else _scanned(manifest, source, faults)

    def read_one(item: _Files) -> RawCase:
        labels, place = LabelMap.read(item.label), f"case {item.id}, {item.label}"
        labels.refuse_undeclared(table.declared, place)
        known = _known_slices(labels, table.ignore)
        patient = options.patient_of(item.id)
        if not known:
            return RawCase(item.id, patient, item.image, {}, (*notes, "every slice carries the ignore label"))
        ranges = () if len(known) == len(labels.planes) else slice_ranges(known)
        within = any(table.ignore in labels.planes[z] for z in known)
        cells = labels.cells(organs, ranges, table.ignore or 0 if within else 0)
        empty = labels.empty(organs)
        return RawCase(item.id, patient, item.image, cells, notes, empty)

    yield from each(files, read_one, faults)


def parse_labels(table: Mapping[str, Any], where: str) -> Labels:
    """The `labels` of dataset.json: name -> number, or a list of numbers for a region; `background` is 0."""
    organs: dict[str, tuple[int, ...]] = {}
    for name, value in table.items():
        values = tuple(value) if isinstance(value, list) else (value,)
        if name == "background" and values == (0,):
            continue
        whole = bool(values) and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
        if not whole or len(set(values)) != len(values):
            do = "give a whole number above 0, or a list of different ones for a region"
            raise BadInput("not a label", where=where, got=f"{name!r}: {value!r}", do=do)
        organs[name] = values
    ignore = organs.pop("ignore", None)
    if ignore is not None and (len(ignore) > 1 or any(ignore[0] in labels for labels in organs.values())):
        raise BadInput("ignore needs one value of its own", where=where, got=str(ignore))
    return Labels(organs, ignore[0] if ignore else None)


def slice_ranges(known: Sequence[int]) -> tuple[SliceRange, ...]:
    """Ascending slice numbers as ranges: one with a step where they are equally far apart, else one for each run."""
    steps = {b - a for a, b in pairwise(known)}
    if len(steps) == 1:
        return (SliceRange(known[0], known[-1] + 1, steps.pop()),)
    starts = [b for a, b in pairwise([-2, *known]) if b != a + 1]
    stops = [a + 1 for a, b in pairwise([*known, known[-1] + 2]) if b != a + 1]
    return tuple(SliceRange(start, stop) for start, stop in zip(starts, stops, strict=True))


def _known_slices(labels: LabelMap, ignore: int | None) -> list[int]:
    """Slices that are not filled with the ignore label."""
    return [z for z, plane in enumerate(labels.planes) if plane != {ignore}]


def _channel_notes(manifest: Mapping[str, Any], where: str) -> tuple[str, ...]:
    channels = manifest.get("channel_names", {"0": "CT"})
    first = str(channels.get("0")) if isinstance(channels, dict) else repr(channels)
    if first.upper() == "CT":
        return () if len(channels) == 1 else (f"only channel 0 (CT) of {len(channels)} is read",)
    if isinstance(channels, dict) and len(channels) == 1:
        return (f"the image's channel is called {first!r}: its values are taken as HU",)
    raise BadInput("smiler reads CT, and channel 0 is not called CT", where=where, got=f"channel_names {channels!r}")


def _scanned(manifest: Mapping[str, Any], source: Path, faults: list[BadInput]) -> list[_Files]:
    ending = manifest.get("file_ending", ".nii.gz")
    if ending not in ENDINGS:
        where = str(source / "dataset.json")
        raise BadInput("only NIfTI is read", where=where, got=f"file_ending {ending!r}", do="convert the files")
    images = {case_name(p, "_0000"): p for p in nifti_files(source / "imagesTr") if p.name.endswith("_0000" + ending)}
    labels = {case_name(p): p for p in nifti_files(source / "labelsTr") if p.name.endswith(ending)}
    for name in sorted(images.keys() ^ labels.keys()):
        here = images.get(name, labels.get(name))
        do = f"put both imagesTr/{name}_0000{ending} and labelsTr/{name}{ending} there, or neither"
        faults.append(BadInput("an image or its label map is missing", where=f"case {name!r}", got=str(here), do=do))
    return [_Files(name, images[name], labels[name]) for name in sorted(images.keys() & labels.keys())]


def _listed(manifest: Mapping[str, Any], source: Path, faults: list[BadInput]) -> list[_Files]:
    files = []
    table = manifest["dataset"] if isinstance(manifest["dataset"], dict) else {"dataset": manifest["dataset"]}
    for name, row in table.items():
        images = row.get("images") if isinstance(row, dict) else None
        paths = [*images, row.get("label")] if isinstance(images, list) else []
        if len(paths) < 2 or not all(isinstance(path, str) for path in paths):
            do = 'write {"images": [PATH, ...], "label": PATH}'
            faults.append(BadInput("not a case of dataset.json", where=f"case {name!r}", got=repr(row), do=do))
            continue
        found = _Files(name, absolute(source / paths[0]), absolute(source / paths[-1]))
        missing = [path for path in (found.image, found.label) if not path.is_file()]
        for path in missing:
            faults.append(BadInput("the file does not exist", where=f"case {name!r}", got=ascii(str(path))))
        files += [] if missing else [found]
    return files


FORMAT = Format(
    name="nnunet",
    title="nnU-Net version 2: dataset.json with named labels, imagesTr and labelsTr",
    looks_for='dataset.json with "labels": {"liver": 1}',
    recognises=recognises,
    read=read,
)
