"""Published data sets with a layout and label numbers of their own: BTCV, AMOS, FLARE, WORD, LiTS, KiTS, CT-ORG.

Each is a row of the same table: how an image is called, where its label map lies, which organ is which labels. Where a
data set draws a tumour inside its organ, the organ is both labels together.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smiler.domain.endings import ending_of, stem_of
from smiler.domain.errors import BadInput
from smiler.domain.places import natural
from smiler.formats.base import Format, ImportOptions, LabelMap, RawCase, absolute, each, the_one, volumes_at
from smiler.formats.numbering import LABEL_TABLES, by_name

DEPTH = 2
"""How many folders below the source a data set may begin: archives unpack into folders of their own."""


@dataclass(frozen=True)
class Layout:
    """`image` matches the path below the base and finds the case `id`; `labels`: where its label map may be.

    Both without the ending: it may be that of any volume.
    """

    name: str
    title: str
    looks_for: str
    image: str
    labels: tuple[str, ...]
    organs: Mapping[str, tuple[int, ...]]
    highest_ct: int = 0

    def images(self, source: Path) -> list["_Found"]:
        """Every image with its base, in natural order."""
        found = []
        for base in _bases(source):
            depth = self.image.count("/")
            for path in base.glob("/".join(["*"] * (depth + 1))):
                inner = path.relative_to(base).parent / stem_of(path.name)
                match = re.fullmatch(self.image, inner.as_posix())
                if match and ending_of(path.name) and path.is_file():
                    found.append(_Found(match["id"], absolute(path), absolute(base)))
        return sorted(set(found), key=lambda item: natural(item.image))

    def label_maps(self, found: "_Found") -> list[Path]:
        """The image's label map; none where there is none, and several that only their endings tell apart."""
        places = (volumes_at(found.base / label.format(id=found.id)) for label in self.labels)
        return next((paths for paths in places if paths), [])

    def is_ct(self, found: "_Found") -> bool:
        """Whether the image is a CT: in AMOS the cases above a number are MR."""
        numbers = re.findall(r"\d+", found.id)
        return not self.highest_ct or not numbers or int(numbers[-1]) <= self.highest_ct


@dataclass(frozen=True)
class _Found:
    id: str
    image: Path
    base: Path


def _bases(source: Path) -> list[Path]:
    """The source and the folders at most DEPTH below it."""
    level, found = [source], [source]
    for _ in range(DEPTH):
        level = [p for folder in level if folder.is_dir() for p in folder.iterdir() if p.is_dir() and p.name[0] != "."]
        found += level
    return found


def recognises(layout: Layout, source: Path) -> bool:
    """At least one image with a label map beside it."""
    return source.is_dir() and any(layout.label_maps(found) for found in layout.images(source))


def read(layout: Layout, source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every CT that has a label map; the others are counted in the first case's notes."""
    images = layout.images(source)
    ct = [found for found in images if layout.is_ct(found)]
    pairs = [(found, paths) for found in ct if (paths := layout.label_maps(found))]
    if not pairs:
        raise BadInput(f"no case of {layout.name} there", where=str(source), do=f"it looks for {layout.looks_for}")
    left = ((len(images) - len(ct), "images that are no CT"), (len(ct) - len(pairs), "images without a label map"))
    notes = {pairs[0][0]: tuple(f"{count} {what} left out" for count, what in left if count)}
    organs = {name: labels for name, labels in layout.organs.items() if options.wants(name)}
    declared = {label for labels in layout.organs.values() for label in labels}

    def read_one(pair: tuple[_Found, list[Path]]) -> RawCase:
        found, path = pair[0], the_one(pair[1], f"case {pair[0].id}")
        labels = LabelMap.read(path)
        labels.refuse_undeclared(declared, f"case {found.id}, {path}")
        cells, empty = labels.cells(organs), labels.empty(organs)
        return RawCase(found.id, options.patient_of(found.id), found.image, cells, notes.get(found, ()), empty)

    yield from each(pairs, read_one)


LAYOUTS = (
    Layout(
        "btcv",
        "BTCV (Synapse multi-atlas): img/imgNNNN.nii.gz and label/labelNNNN.nii.gz",
        "img/img0001.nii.gz and label/label0001.nii.gz",
        r"img/img(?P<id>\d+)",
        ("label/label{id}",),
        by_name(LABEL_TABLES["btcv"]),
    ),
    Layout(
        "amos",
        "AMOS 2022: imagesTr/amos_NNNN.nii.gz and labelsTr; its MR scans (above 500) are left out",
        "imagesTr/amos_0001.nii.gz and labelsTr/amos_0001.nii.gz",
        r"images(?:Tr|Va)/(?P<id>amos_\d+)",
        ("labelsTr/{id}", "labelsVa/{id}"),
        by_name(LABEL_TABLES["amos"]),
        highest_ct=500,
    ),
    Layout(
        "flare",
        "FLARE 2022: images/FLARE..._0000.nii.gz and labels",
        "images/FLARE22_Tr_0001_0000.nii.gz and labels/FLARE22_Tr_0001.nii.gz",
        r"images/(?P<id>FLARE\w+?)_0000",
        ("labels/{id}",),
        by_name(LABEL_TABLES["flare"]),
    ),
    Layout(
        "word",
        "WORD: imagesTr/word_NNNN.nii.gz and labelsTr (imagesVal and labelsVal too)",
        "imagesTr/word_0001.nii.gz and labelsTr/word_0001.nii.gz",
        r"images(?:Tr|Val)/(?P<id>word_\d+)",
        ("labelsTr/{id}", "labelsVal/{id}"),
        by_name(LABEL_TABLES["word"]),
    ),
    Layout(
        "lits",
        "LiTS: volume-N.nii and segmentation-N.nii",
        "volume-0.nii and segmentation-0.nii",
        r"volume-(?P<id>\d+)",
        ("segmentation-{id}",),
        {"liver": (1, 2), "liver_tumor": (2,)},
    ),
    Layout(
        "kits",
        "KiTS: case_N/imaging.nii.gz and case_N/segmentation.nii.gz",
        "case_00000/imaging.nii.gz and case_00000/segmentation.nii.gz",
        r"(?P<id>case_\d+)/imaging",
        ("{id}/segmentation",),
        {"kidney": (1, 2, 3), "kidney_tumor": (2,), "kidney_cyst": (3,)},
    ),
    Layout(
        "ctorg",
        "CT-ORG: volume-N.nii.gz and labels-N.nii.gz",
        "volume-0.nii.gz and labels-0.nii.gz",
        r"volume-(?P<id>\d+)",
        ("labels-{id}",),
        {"liver": (1,), "urinary_bladder": (2,), "lung": (3,), "kidney": (4,), "bone": (5,), "brain": (6,)},
    ),
)
LAYOUT_FORMATS: Mapping[str, Format] = {
    layout.name: Format(
        layout.name,
        layout.title,
        layout.looks_for,
        partial(recognises, layout),
        partial(read, layout),
        own_layout=True,
    )
    for layout in LAYOUTS
}
