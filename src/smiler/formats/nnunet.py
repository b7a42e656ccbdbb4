"""nnU-Net (version 2): dataset.json with named labels, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from smiler.domain.cells import SliceRange
from smiler.domain.endings import VOLUMES, ending_of, stem_of
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.formats.base import (
    Format,
    ImportOptions,
    LabelMap,
    RawCase,
    absolute,
    each,
    peek_manifest,
    present,
    read_manifest,
    the_one,
    volume_files,
)
from smiler.formats.msd import CHANNEL

DATA_SET, MANIFEST = "Dataset", "dataset.json"
_A_CHANNEL = re.compile(r"_\d{4}")


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
    folders = [source, *_below(source)]
    found = [folder for folder in folders if (manifest := peek_manifest(folder)) and _by_name(manifest)]
    return [source] if source in found else found


def _below(source: Path) -> list[Path]:
    return sorted(path.parent for path in source.glob(f"{DATA_SET}*/{MANIFEST}"))


def _by_name(manifest: Mapping[str, Any]) -> bool:
    return not all(str(key).isdigit() for key in manifest["labels"])


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """The training cases. Nobody looked at voxels of the label `ignore`; slices full of it leave the slice ranges.

    Of a folder of data sets, cases of one id and one image become one case with the organs of all.
    """
    folders = [source] if (source / MANIFEST).is_file() else _below(source) or [source]
    if len(folders) == 1:
        yield from _read(folders[0], options)
        return
    cases: dict[str, RawCase] = {}
    faults: list[BadInput] = []
    for folder in folders:
        try:
            for raw in _read(folder, options):
                cases[raw.id] = _united(cases[raw.id], raw) if raw.id in cases else raw
        except BadInput as error:
            faults += error.faults if isinstance(error, Faults) else [error]
    yield from cases.values()
    raise_all(faults)


def _united(one: RawCase, other: RawCase) -> RawCase:
    both = sorted(one.cells.keys() & other.cells.keys())
    if one.image.resolve() != other.image.resolve() or both:
        got = f"{one.image} and {other.image}" if not both else f"{', '.join(both)} twice"
        do = "import the data sets one by one, with --prefix"
        raise BadInput("cases of one id that are not one case", where=f"case {one.id}", got=got, do=do)
    notes = (*one.notes, *(note for note in other.notes if note not in one.notes))
    return replace(one, cells={**one.cells, **other.cells}, empty=one.empty | other.empty, notes=notes)


def _read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    manifest, where = read_manifest(source), str(source / MANIFEST)
    if not _by_name(manifest):
        do = "import it alone, with --format msd"
        raise BadInput("the labels are numbered, as in version 1 and the Decathlon", where=where, do=do)
    table = parse_labels(manifest["labels"], where)
    organs = {name: labels for name, labels in table.organs.items() if options.wants(name)}
    faults: list[BadInput] = []
    files, names = _listed(manifest, source, faults) if "dataset" in manifest else _scanned(manifest, source, faults)
    notes = (*_channel_notes(manifest, where), *names)

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


def _scanned(manifest: Mapping[str, Any], source: Path, faults: list[BadInput]) -> tuple[list[_Files], list[str]]:
    """The pairs of imagesTr and labelsTr, and notes about names that are not as the data set's version has them."""
    ending = manifest.get("file_ending", VOLUMES[0])
    if str(ending).lower() not in VOLUMES:
        got, do = f"file_ending {ending!r}", f"convert the files; smiler reads {', '.join(VOLUMES)}"
        raise BadInput("no such files are read", where=str(source / MANIFEST), got=got, do=do)
    labels = _by_stem(source / "labelsTr", ending)
    images, bare = _channel_0(_by_stem(source / "imagesTr", ending), labels)
    for name in sorted(images.keys() ^ labels.keys()):
        here = images.get(name, labels.get(name, []))[0]
        do = f"put both imagesTr/{name}{CHANNEL}{ending} and labelsTr/{name}{ending} there, or neither"
        faults.append(BadInput("an image or its label map is missing", where=f"case {name!r}", got=str(here), do=do))
    files = []
    for name in sorted(images.keys() & labels.keys()):
        try:
            files.append(_Files(name, *(the_one(paths, f"case {name!r}") for paths in (images[name], labels[name]))))
        except BadInput as error:
            faults.append(error)
    others = {ending_of(path.name) for item in files for path in (item.image, item.label)} - {ending}
    notes = [f"{MANIFEST} says {ending}, the files end in {', '.join(sorted(others))}"] if others else []
    return files, notes + ([f"the image's name lacks the channel number {CHANNEL}"] if bare else [])


def _by_stem(folder: Path, ending: str) -> dict[str, list[Path]]:
    """Name without its ending -> files; where one has the declared ending, that one."""
    found: dict[str, list[Path]] = {}
    for path in volume_files(folder):
        found.setdefault(stem_of(path.name), []).append(path)
    return {stem: [p for p in paths if p.name.endswith(ending)] or paths for stem, paths in found.items()}


def _channel_0(
    found: Mapping[str, list[Path]], labels: Mapping[str, list[Path]]
) -> tuple[dict[str, list[Path]], frozenset[str]]:
    """Case -> files of its first channel; the cases whose images are named without a channel, as their labels are."""
    images = {stem.removesuffix(CHANNEL): paths for stem, paths in found.items() if stem.endswith(CHANNEL)}
    channels = {stem for stem in found if _A_CHANNEL.fullmatch(stem[-5:]) and stem[:-5] in images}
    bare = {stem for stem in found if stem not in channels and stem not in images}
    unknown = {stem for stem in bare if _A_CHANNEL.fullmatch(stem[-5:]) and stem not in labels}  # a channel of nothing
    return images | {stem: found[stem] for stem in bare - unknown}, frozenset(bare - unknown)


def _listed(manifest: Mapping[str, Any], source: Path, faults: list[BadInput]) -> tuple[list[_Files], list[str]]:
    files, others = [], False
    table = manifest["dataset"] if isinstance(manifest["dataset"], dict) else {"dataset": manifest["dataset"]}
    for name, row in table.items():
        images = row.get("images") if isinstance(row, dict) else None
        paths = [*images, row.get("label")] if isinstance(images, list) else []
        if len(paths) < 2 or not all(isinstance(path, str) for path in paths):
            do = 'write {"images": [PATH, ...], "label": PATH}'
            faults.append(BadInput("not a case of dataset.json", where=f"case {name!r}", got=repr(row), do=do))
            continue
        listed = [absolute(source / path) for path in (paths[0], paths[-1])]
        try:
            found = [_there(path, f"case {name!r}") for path in listed]
        except BadInput as error:
            faults += error.faults if isinstance(error, Faults) else [error]
            continue
        files.append(_Files(name, *found))
        others |= found != listed
    return files, ["files have other endings than dataset.json says"] if others else []


def _there(path: Path, where: str) -> Path:
    found = present(path)
    if not found:
        raise BadInput("the file does not exist", where=where, got=ascii(str(path)))
    return the_one(found, where)


FORMAT = Format(
    name="nnunet",
    title="nnU-Net version 2: dataset.json with named labels, imagesTr and labelsTr",
    looks_for='dataset.json with "labels": {"liver": 1}',
    recognises=recognises,
    read=read,
)
