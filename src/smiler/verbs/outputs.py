"""What a prediction may write where: it takes no place of a table, of its own images, or of masks that others drew."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from smiler.domain.errors import BadInput, raise_all
from smiler.domain.names import folded
from smiler.domain.remote import Remote, absolute
from smiler.verbs.predict_image import ABOUT, MARK, PredictImage, labelmap_path

VOLUMES, LABELS = "volumes.csv", "labels.json"
TABLES = (VOLUMES, LABELS, "scores.csv", "report.html")
"""What lies beside the images' folders: what `predict`, `evaluate` and `report` write there."""


def check_outputs(work: PredictImage, named: Mapping[str, Path]) -> None:
    """BadInput, every fault at once, if a file of an image of that name would take the place of something else."""
    out = work.request.out
    raise_all([*_clashes(work, named), *_own_images(work, named)])
    if out.exists() and not (out / MARK).exists():
        raise_all([fault for name in named for fault in _foreign(work, name)])


def _clashes(work: PredictImage, named: Mapping[str, Path]) -> Iterator[BadInput]:
    taken = {folded(table): f"the table {table}" for table in TABLES}
    taken |= {file: f"the label map of {name!r}" for file, name in _labelmaps(work, named).items()}
    for name, path in named.items():
        if folded(name) in taken:
            got = f"{name!r}, as {taken[folded(name)]}"
            do = "rename the image, or predict it into another folder"
            yield BadInput("the image's folder would have the name of a file", where=str(path), got=got, do=do)


def _own_images(work: PredictImage, named: Mapping[str, Path]) -> Iterator[BadInput]:
    """Images that lie where masks will: they would be written over, or masks would lie among a series' slices."""
    out, names, labelmaps = work.request.out, {folded(name): name for name in named}, _labelmaps(work, named)

    def is_output(parts: tuple[str, ...]) -> bool:
        first = folded(parts[0]) if parts else ""
        if len(parts) == 1 and first in labelmaps:
            return True
        if first not in names:
            return False
        return len(parts) == 1 or folded(parts[1]) in {folded(file.name) for file in work.files(names[first])}

    for path in named.values():
        if any(map(is_output, _inside(path, out))):
            do = "choose another folder with --out"
            yield BadInput("the masks would take the image's place", where=str(path), got=str(out), do=do)


def _inside(path: Path, out: Path) -> Iterator[tuple[str, ...]]:
    """The path as it is counted from `out`, links followed or not, if it lies in it."""
    ways, places = ([path], [out])
    if not isinstance(path, Remote) and not isinstance(out, Remote):
        ways, places = ([absolute(each), each.resolve()] for each in (path, out))
    yield from (way.relative_to(place).parts for way in ways for place in places if way.is_relative_to(place))


def _labelmaps(work: PredictImage, named: Mapping[str, Path]) -> dict[str, str]:
    """The names of label maps that will be written, and whose."""
    names = named if work.request.labelmap else ()
    return {folded(labelmap_path(work.request.out, name).name): name for name in names}


def _foreign(work: PredictImage, name: str) -> Iterator[BadInput]:
    """Masks of which no note says that a prediction wrote them may be an expert's."""
    files = work.files(name)
    if (work.request.out / name / ABOUT).exists():
        return
    for path in files:
        if path.exists():
            do = "choose another folder with --out, or move the file away"
            yield BadInput("a file lies there that no prediction wrote", where=str(path), do=do)
