"""Layouts in which CT and masks come, each read in place: one file and one line in FORMATS a layout."""

from collections.abc import Mapping
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.places import exists
from smiler.domain.signpost import instead, signpost
from smiler.formats import bids, folder, ircadb, msd, nnunet, study, totalsegmentator
from smiler.formats.base import Format, ImportOptions, RawCase, read_manifest
from smiler.formats.layouts import LAYOUT_FORMATS

__all__ = ["FORMATS", "Format", "ImportOptions", "RawCase", "detect", "format_named"]

FORMATS: Mapping[str, Format] = {
    "nnunet": nnunet.FORMAT,
    "msd": msd.FORMAT,
    "totalsegmentator": totalsegmentator.FORMAT,
    "folder": folder.FORMAT,
    **LAYOUT_FORMATS,
    "ircadb": ircadb.FORMAT,
    "bids": bids.FORMAT,
    "dicom": study.FORMAT,
}


def format_named(name: str) -> Format:
    """The format of that name."""
    if name not in FORMATS:
        raise BadInput("no such format", where="--format", got=repr(name), do=f"choose among {', '.join(FORMATS)}")
    return FORMATS[name]


def _name_what_is_there(source: Path) -> None:
    """BadInput for a source that is something else, or whose dataset.json can't be read: what it is, or why not."""
    for manifest in sorted([*source.glob("dataset.json"), *source.glob("Dataset*/dataset.json")]):
        read_manifest(manifest.parent)
    if signpost(source).kind in ("cohort", "run", "results", "volumes", "file"):
        raise instead("no data set that is known", source)


def detect(source: Path) -> Format:
    """The one format that recognises the source; a data set's own layout goes before a general one."""
    if not exists(source):
        raise instead("the source does not exist", source)
    fitting = [fmt for fmt in FORMATS.values() if fmt.recognises(source)]
    found = [fmt for fmt in fitting if fmt.own_layout] or fitting
    if len(found) == 1:
        return found[0]
    if not found:
        _name_what_is_there(source)
    got = f"the layouts of {' and '.join(fmt.name for fmt in found)}" if found else "none of the known layouts"
    looked = "; ".join(f"{fmt.name}: {fmt.looks_for}" for fmt in FORMATS.values())
    raise BadInput("can't tell the format", where=str(source), got=got, do=f"say --format; looked for {looked}")
