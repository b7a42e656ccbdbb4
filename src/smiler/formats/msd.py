"""Medical Segmentation Decathlon, nnU-Net 1: dataset.json lists pairs of image and label map, labels by number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput, raise_all
from smiler.formats.base import (
    Format,
    ImportOptions,
    LabelMap,
    RawCase,
    absolute,
    case_name,
    each,
    peek_manifest,
    present,
    read_manifest,
    some,
    the_one,
    volumes_at,
)
from smiler.formats.numbering import by_name, checked_table
from smiler.formats.synonyms import NAMELESS, Synonyms, slug_of

# Where MSD labels a tumour beside one of these organs, the tumour lies in the organ: the organ is both labels together.
TUMOUR_IN = {"liver": "liver_tumor", "pancreas": "pancreas_tumor", "kidney": "kidney_tumor"}


CHANNEL = "_0000"
"""Stands at the end of an image's name for its first channel."""


@dataclass(frozen=True)
class _Pair:
    id: str
    image: Path
    label: Path
    notes: tuple[str, ...] = ()
    missing: bool = False


def recognises(source: Path) -> bool:
    """A dataset.json whose labels are keyed by number and which lists its training pairs."""
    manifest = peek_manifest(source)
    return "training" in manifest and all(str(key).isdigit() for key in manifest["labels"])


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """The training cases whose two files are on disk; the missing ones are named in the first case's notes."""
    manifest, where = read_manifest(source), str(source / "dataset.json")
    _refuse_other_modalities(manifest, where)
    numbers = checked_table([(key, name) for key, name in manifest["labels"].items() if key != "0"], where)
    organs = {name: labels for name, labels in nested(numbers, options.names).items() if options.wants(name)}

    def read_one(pair: _Pair) -> RawCase:
        case_id = pair.id
        labels = LabelMap.read(pair.label)
        labels.refuse_undeclared(numbers, f"case {case_id}, {pair.label}")
        patient, cells, empty = options.patient_of(case_id), labels.cells(organs), labels.empty(organs)
        return RawCase(case_id, patient, pair.image, cells, pair.notes, empty)

    yield from each(_pairs(manifest, source), read_one)


def nested(numbers: Mapping[int, str], names: Synonyms) -> dict[str, tuple[int, ...]]:
    """Organ -> labels. A tumour beside exactly one organ of TUMOUR_IN gets that organ's name and lies in it."""
    organs = by_name(numbers)
    tumours = [name for name in organs if _is_tumour(name, names)]
    others = [name for name in organs if name not in tumours]
    if len(tumours) != 1 or len(others) != 1 or names.key(others[0]) not in TUMOUR_IN:
        return organs
    host, tumour = others[0], tumours[0]
    named = TUMOUR_IN[names.key(host)] if _is_nameless(tumour, names) else tumour
    if not _is_nameless(tumour, names) and names.key(tumour) != TUMOUR_IN[names.key(host)]:
        return organs
    return {host: tuple(sorted(numbers)), named: organs[tumour]}


def _is_tumour(name: str, names: Synonyms) -> bool:
    return _is_nameless(name, names) or names.key(name) in TUMOUR_IN.values()


def _is_nameless(name: str, names: Synonyms) -> bool:
    return slug_of(name) in NAMELESS and slug_of(name) not in names.keys


def _refuse_other_modalities(manifest: Mapping[str, Any], where: str) -> None:
    modality = manifest.get("modality", {"0": "CT"})
    if not isinstance(modality, dict) or [str(name).upper() for name in modality.values()] != ["CT"]:
        raise BadInput("smiler reads CT with one channel", where=where, got=f"modality {modality!r}")


def _pairs(manifest: Mapping[str, Any], source: Path) -> list[_Pair]:
    listed = _listed(manifest["training"], source)
    there = [pair for pair in listed if not pair.missing]
    missing = [pair.id for pair in listed if pair.missing]
    if not there:
        do = "unpack imagesTr and labelsTr beside dataset.json"
        raise BadInput("none of the listed files is there", where=str(source), got=some(missing), do=do)
    if missing:
        note = f"{len(missing)} of {len(listed)} listed cases are not on disk: {', '.join(missing)}"
        there[0] = replace(there[0], notes=(note,))
    return there


def _listed(rows: Any, source: Path) -> list[_Pair]:
    pairs, faults = [], []
    for row in rows if isinstance(rows, list) else [rows]:
        try:
            pairs.append(_pair(row, source))
        except BadInput as error:
            faults.append(error)
    raise_all(faults)
    return pairs


def _pair(row: Any, source: Path) -> _Pair:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("image", "label")):
        raise BadInput("training lists pairs of image and label", where=str(source / "dataset.json"), got=ascii(row))
    image, label = absolute(source / row["image"]), absolute(source / row["label"])
    for path in (image, label):
        if not path.is_relative_to(absolute(source)) or not str(path).isprintable():
            raise BadInput("the path leaves the data set", where=str(source / "dataset.json"), got=ascii(row))
    name, where = case_name(image), f"case {case_name(image)}"
    images, labels = _image(image), present(label)
    if not images or not labels:
        return _Pair(name, image, label, missing=True)
    return _Pair(name, the_one(images, where), the_one(labels, where))


def _image(path: Path) -> list[Path]:
    """The listed image, or channel 0 of it: version 1 of nnU-Net lists a.nii.gz for the file a_0000.nii.gz."""
    return present(path) or volumes_at(path.with_name(case_name(path) + CHANNEL))


FORMAT = Format(
    name="msd",
    title="Medical Segmentation Decathlon, nnU-Net version 1: dataset.json with numbered labels and training pairs",
    looks_for='dataset.json with "labels": {"1": "spleen"} and "training"',
    recognises=recognises,
    read=read,
)
