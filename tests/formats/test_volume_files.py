"""MHA and NRRD: written here by their definitions, read as NIfTI of the same voxels is; what is wrong is refused."""

import gzip
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from sources import ABSENT, nnunet

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.formats.importing import import_into
from smiler.formats.nifti import check, read_ct, read_header, read_labels
from smiler.formats.volumes import ReadOptions, content
from smiler.store.hashes import Hashes

SPACING, ORIGIN = (0.8, 0.9, 2.5), (-12.25, 45.5, -700.0)
TURNS = {
    "as it is": np.eye(3),
    "half a turn": np.diag([-1.0, -1.0, 1.0]),
    "axes swapped": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "oblique": np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]]),
}
"""Directions of the file's axes, as columns."""
META = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG_LONG"}
META |= {"f4": "FLOAT", "f8": "DOUBLE"}
NRRD = {"i1": "int8", "u1": "uchar", "i2": "short", "u2": "uint16", "i4": "int", "u4": "unsigned int", "i8": "int64"}
NRRD |= {"f4": "float", "f8": "double"}
VOXELS = np.random.default_rng(4).integers(0, 100, (4, 5, 6))
"""(k, j, i)."""


def data(order: str, dtype: str) -> bytes:
    return VOXELS.astype(np.dtype(order + dtype)).tobytes()


def mha(path: Path, turn: str = "as it is", dtype: str = "i2", order: str = "<", packed: bool = False) -> Path:
    """As ITK writes it; a name in .mhd has its voxels beside it."""
    raw = data(order, dtype)
    raw = zlib.compress(raw) if packed else raw
    axes = " ".join(str(v) for v in TURNS[turn].T.ravel())
    beside = path.suffix == ".mhd"
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {order == '>'}\n"
        f"CompressedData = {packed}\n"
        + (f"CompressedDataSize = {len(raw)}\n" if packed else "")
        + f"TransformMatrix = {axes}\nOffset = {' '.join(map(str, ORIGIN))}\nCenterOfRotation = 0 0 0\n"
        f"AnatomicalOrientation = RAI\nElementSpacing = {' '.join(map(str, SPACING))}\nDimSize = 6 5 4\n"
        f"ElementType = MET_{META[dtype]}\nElementDataFile = {path.stem + '.raw' if beside else 'LOCAL'}\n"
    )
    return both(path, head, raw, ".raw" if beside else "")


def nrrd(path: Path, turn: str = "as it is", dtype: str = "i2", order: str = "<", packed: bool = False) -> Path:
    """As ITK writes it; a name in .nhdr has its voxels beside it."""
    raw = data(order, dtype)
    raw = gzip.compress(raw) if packed else raw
    columns = " ".join("(" + ",".join(map(str, TURNS[turn][:, a] * SPACING[a])) + ")" for a in range(3))
    beside = path.suffix == ".nhdr"
    head = (
        f"NRRD0004\n# a comment\ntype: {NRRD[dtype]}\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
        f"space directions: {columns}\nkinds: domain domain domain\n"
        + (f"endian: {'little' if order == '<' else 'big'}\n" if dtype[1] != "1" else "")
        + f"encoding: {'gzip' if packed else 'raw'}\nspace origin: ({','.join(map(str, ORIGIN))})\n"
        "Segment0_Name:=liver\n" + (f"data file: {path.stem}.raw\n" if beside else "\n")
    )
    return both(path, head, raw, ".raw" if beside else "")


def both(path: Path, head: str, raw: bytes, beside: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode() + (b"" if beside else raw))
    if beside:
        path.with_suffix(beside).write_bytes(raw)
    return path


def nifti(path: Path, turn: str = "as it is", dtype: str = "i2") -> Path:
    """The same voxels and place, as nibabel writes them."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ TURNS[turn] * SPACING
    affine[:3, 3] = np.diag([-1, -1, 1]) @ ORIGIN
    image: Any = nib.Nifti1Image
    nib.save(image(VOXELS.transpose(2, 1, 0).astype(dtype), affine), path)
    return path


Writer = Callable[..., Path]
WRITERS: dict[str, Writer] = {"mha": mha, "mhd": mha, "nrrd": nrrd, "nhdr": nrrd}


def refused(path: Path, *words: str, options: ReadOptions | None = None) -> str:
    text = ""
    for read in (check, read_ct, read_labels):
        with pytest.raises(BadInput) as caught:
            read(path, options or ReadOptions())
        text = str(caught.value)
        assert all(word in text for word in words), text
    return text


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_volume_is_read_as_nifti_of_the_same_voxels_is(kind: str, turn: str, packed: bool, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}", turn, packed=packed)
    ct, same = read_ct(path), read_ct(nifti(tmp_path / "a.nii.gz", turn))
    assert np.array_equal(ct.hu, same.hu)
    assert ct.geometry.distance_mm(same.geometry) < 1e-4
    assert ct.grid.axis_codes == same.grid.axis_codes
    labels, grid = read_labels(path)
    assert np.array_equal(labels, same.hu)  # type: ignore[arg-type]
    assert read_header(path) == check(path) == grid == ct.grid


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", META)
@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_every_type_of_number_in_both_orders_of_bytes(kind: str, dtype: str, order: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}", dtype=dtype, order=order)
    own: NDArray[Any] = read_ct(path).hu
    assert np.array_equal(own, VOXELS)


@pytest.mark.parametrize(
    ("space", "signs"),
    [("right-anterior-superior", (-1, -1, 1)), ("RAS", (-1, -1, 1)), ("left-anterior-superior", (1, -1, 1))],
)
def test_a_space_of_nrrd_says_what_its_axes_mean(space: str, signs: tuple[int, ...], tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd")
    lps = read_ct(path)
    columns = " ".join("(" + ",".join(map(str, np.eye(3)[:, a] * SPACING[a] * signs)) + ")" for a in range(3))
    head, raw = path.read_bytes().split(b"\n\n", 1)
    origin = ",".join(str(o * s) for o, s in zip(ORIGIN, signs, strict=True))
    text = head.decode().replace("left-posterior-superior", space)
    lines = [line for line in text.splitlines() if not line.startswith(("space directions", "space origin"))]
    lines += [f"space directions: {columns}", f"space origin: ({origin})", "", ""]
    path.write_bytes("\n".join(lines).encode() + raw)
    ct = read_ct(path)
    assert ct.geometry.distance_mm(lps.geometry) < 1e-4
    assert np.array_equal(ct.hu, lps.hu)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_a_truncated_volume_is_refused_at_every_length(kind: str, packed: bool, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}", packed=packed)
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        for read in (check, read_ct):
            with pytest.raises(BadInput):
                read(path)
    for extra in (bytes(100), b"\1" * 600):
        path.write_bytes(whole + extra)
        if extra.strip(b"\0"):
            refused(path, "longer than its header says")
        else:
            assert np.array_equal(read_ct(path).hu, VOXELS)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_voxels_in_a_file_beside_are_checked_and_hashed_with_it(kind: str, packed: bool, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}", packed=packed)
    raw, hashes = path.with_suffix(".raw"), Hashes(tmp_path / "hashes")
    before = content(path), hashes.of(path)
    whole = raw.read_bytes()
    raw.write_bytes(whole[:-1])
    refused(path, "a.raw", "truncated")
    assert before[0] == before[1] != content(path) == hashes.of(path)
    raw.unlink()
    refused(path, "the file with the voxels is not there; got 'a.raw'")
    for name in ("/etc/passwd", "../a.raw", "a%03d.raw"):
        path.write_text(path.read_text().replace("a.raw", name))
        refused(path, "the voxels are not in one file beside the header")
        path.write_text(path.read_text().replace(name, "a.raw"))


@pytest.mark.parametrize(
    ("field", "begin"), [("HeaderSize = {}\n", "ElementDataFile"), ("byte skip: {}\n", "data file")]
)
@pytest.mark.parametrize("skip", [16, -1])
def test_bytes_before_the_voxels_are_skipped(field: str, begin: str, skip: int, tmp_path: Path) -> None:
    kind = "mhd" if begin == "ElementDataFile" else "nhdr"
    path = WRITERS[kind](tmp_path / f"a.{kind}")
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"\7" * 16 + raw.read_bytes())
    path.write_text(path.read_text().replace(begin, field.format(skip) + begin))
    assert np.array_equal(read_ct(path).hu, VOXELS)


CHANGES = [
    ("mha", "NDims = 3", "NDims = 4", "not three dimensions"),
    ("mha", "DimSize = 6 5 4", "DimSize = 6 5", "DimSize is not 3 numbers"),
    ("mha", "DimSize = 6 5 4", "DimSize = 6 0 4", "a dimension is not positive"),
    ("mha", "DimSize = 6 5 4", "DimSize = 32767 32767 32767", "more bytes than allowed"),
    ("mha", "DimSize = 6 5 4", "DimSize = 40000 1 1", "more than 32767 voxels|truncated"),
    ("mha", "MET_SHORT", "MET_LONG", "elementtype is not read; got 'MET_LONG'"),
    ("mha", "MET_SHORT", "MET_SHORT_ARRAY", "elementtype is not read"),
    ("mha", "BinaryData = True", "BinaryData = False", "written as text"),
    ("mha", "NDims = 3", "NDims = 3\nElementNumberOfChannels = 3", "not plain numbers"),
    ("mha", "NDims = 3", "NDims = 3\nNDims = 3", "a field of the header stands twice; got 'ndims'"),
    ("mha", "Offset =", "Nothing =", "does not say where its voxels lie"),
    ("mha", "ElementSpacing = 0.8", "ElementSpacing = 0", "singular"),
    ("mha", "ElementSpacing = 0.8", "ElementSpacing = nan", "not finite"),
    ("mha", "TransformMatrix = 1.0 0.0", "TransformMatrix = 1.0 0.5", "sheared"),
    ("mha", "NDims = 3", "NDims = 3\nDistanceUnits = um", "not in millimetres"),
    ("mha", "ObjectType = Image", "ObjectType = Scene", "not three dimensions"),
    ("mha", "ElementDataFile = LOCAL", "ElementDataFile = LIST", "the file with the voxels is not there"),
    ("mha", "ObjectType = Image", "hello", "not a MetaImage file"),
    ("nrrd", "dimension: 3", "dimension: 4", "not three dimensions"),
    ("nrrd", "sizes: 6 5 4", "sizes: 6 5 x", "sizes is not 3 numbers"),
    ("nrrd", "type: short", "type: block", "the header's type is not read; got 'block'"),
    ("nrrd", "endian: little\n", "", "the header lacks a field; got no endian"),
    ("nrrd", "encoding: raw", "encoding: bzip2", "encoding is not read; got 'bzip2'"),
    ("nrrd", "encoding: raw", "encoding: raw\nencoding: gzip", "stands twice; got 'encoding'"),
    ("nrrd", "space: left-posterior-superior", "space: scanner-xyz", "space is not read"),
    ("nrrd", "space: left-posterior-superior\n", "", "does not say where its voxels lie"),
    ("nrrd", "kinds:", 'space units: "m" "m" "m"\nkinds:', "not in millimetres"),
    ("nrrd", "kinds:", "line skip: 2\nkinds:", "skips lines"),
    ("nrrd", "NRRD0004", "NRRD000x", "not an NRRD file"),
    ("nrrd", "dimension: 3", "dimension", "header is damaged"),
]


@pytest.mark.parametrize(("kind", "old", "new", "words"), CHANGES)
def test_a_header_that_says_something_else_is_refused(
    kind: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}")
    whole = path.read_bytes()
    assert old.encode() in whole
    path.write_bytes(whole.replace(old.encode(), new.encode()))
    with pytest.raises(BadInput) as caught:
        read_header(path)
    assert any(word in str(caught.value) for word in words.split("|")), str(caught.value)


def test_a_place_that_is_missing_is_taken_where_one_says_so(tmp_path: Path) -> None:
    path = mha(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"Offset =", b"Nothing ="))
    ct = read_ct(path, ReadOptions(orientation="none"))
    assert ct.grid.axis_codes == "RAS"
    assert ct.notes == ("the file does not say where its voxels lie: axes read as right, anterior, superior, as asked",)


def test_a_name_says_which_header_to_expect_and_without_one_the_first_bytes_do(tmp_path: Path) -> None:
    refused(nrrd(tmp_path / "x.nrrd").rename(tmp_path / "a.nii.gz"), "not a NIfTI file; got first bytes b'NRRD0004'")
    refused(mha(tmp_path / "x.mha").rename(tmp_path / "a.nrrd"), "not an NRRD file")
    for path in (nrrd(tmp_path / "x.nrrd").rename(tmp_path / "b"), mha(tmp_path / "x.mha").rename(tmp_path / "c")):
        assert np.array_equal(read_ct(path).hu, VOXELS)
    for ending in ("MHA", "NRRD", "Seg.nrrd"):
        path = (mha if ending == "MHA" else nrrd)(tmp_path / f"d.{ending}")
        assert np.array_equal(read_ct(path).hu, VOXELS)


def test_any_mutation_of_a_text_header_is_read_or_refused(tmp_path: Path) -> None:
    rng, refusals = random.Random(5), 0
    for kind in ("mha", "nrrd"):
        path = WRITERS[kind](tmp_path / f"a.{kind}")
        good = path.read_bytes()
        for _ in range(150):
            changed = bytearray(good)
            for _ in range(rng.choice((1, 1, 2, 8))):
                changed[rng.randrange(380)] = rng.choice((0, 10, 32, 46, 0x7F, 0xFF, rng.randrange(256)))
            path.write_bytes(changed)
            try:
                read_ct(path)
            except BadInput:
                refusals += 1
    assert refusals > 100


@pytest.mark.parametrize("kind", WRITERS)
def test_a_data_set_of_such_files_is_imported(kind: str, tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {}, {"liver": 1}, file_ending=f".{kind}")
    WRITERS[kind](source / "imagesTr" / f"a_0000.{kind}")
    label = WRITERS[kind](source / "labelsTr" / f"a.{kind}")
    local, raw = label.read_bytes(), label.with_suffix(".raw")
    ones = np.minimum(VOXELS, 1).astype("<i2").tobytes()
    if raw.exists():
        raw.write_bytes(ones)
    else:
        label.write_bytes(local[: -len(ones)] + ones)
    report = import_into(source, tmp_path / "cohort", ABSENT)
    assert (report.added, report.notes) == (("a",), ())
    assert str(Cohort.open(tmp_path / "cohort").case("a").cell("liver")) == f"{label}#1"
