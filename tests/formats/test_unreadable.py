"""CT files that can't be read are refused at import, all of them at once; masks of another CT, too."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from sources import MAKE, nnunet, refusal, volume

from smiler.cli import main
from smiler.domain.cohort import Cohort
from smiler.formats import ImportOptions
from smiler.formats.importing import import_into
from smiler.formats.volumes import ReadOptions

EXPERT = ImportOptions(taken_as="expert")
"""As those of TotalSegmentator's layout must say."""


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def patched(form: str, offset: int, *values: Any) -> Callable[[bytes], bytes]:
    """The plain file with some bytes of its header changed, compressed again."""

    def change(plain: bytes) -> bytes:
        data = bytearray(plain)
        struct.pack_into(form, data, offset, *values)
        return packed(bytes(data))

    return change


def floats(plain: bytes) -> bytes:
    image = nib.Nifti1Image(np.full((4, 5, 6), np.nan, np.float32), np.eye(4))  # type: ignore[no-untyped-call,attr-defined]
    return packed(image.to_bytes())


HTML = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head></html>"
DIM, DATATYPE, PIXDIM, VOX_OFFSET, UNITS, QFORM, SROW, MAGIC = 40, 70, 76, 108, 123, 252, 280, 344
KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "0 bytes": (lambda _: b"", "the file is empty"),
    "one byte": (lambda _: b"\x1f", "not a NIfTI file"),
    "HTML": (lambda _: HTML, "not a NIfTI file"),
    "HTML, gzipped": (lambda _: packed(HTML), "not a NIfTI file"),
    "a picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(400), "not a NIfTI file"),
    "a zip file": (lambda _: b"PK\x03\x04" + bytes(400), "not a NIfTI file"),
    "zeros": (lambda _: bytes(5000), "not a NIfTI file"),
    "gzip without its body": (lambda plain: packed(plain)[:8], "truncated"),
    "half of a header": (lambda plain: packed(plain[:200]), "truncated|not a NIfTI"),
    "truncated gzip": (lambda plain: packed(plain)[:-20], "truncated"),
    "gzip without its end": (lambda plain: packed(plain)[:-4], "truncated"),
    "truncated before it was gzipped": (lambda plain: packed(plain[:-10]), "truncated"),
    "truncated, not gzipped": (lambda plain: plain[:-1], "truncated"),
    "a wrong checksum": (lambda plain: packed(plain)[:-8] + b"\1\2\3\4" + packed(plain)[-4:], "damaged"),
    "a flipped byte": (lambda plain: (g := packed(plain))[: len(g) // 2] + b"\xff" * 4 + g[len(g) // 2 + 4 :], ""),
    "more behind the voxels": (lambda plain: packed(plain + b"\1" * 700), "longer than its header says"),
    "32767^3": (patched("<8h", DIM, 3, 32767, 32767, 32767, 1, 1, 1, 1), "more bytes than allowed"),
    "negative dimensions": (patched("<8h", DIM, 3, -4, 5, 6, 1, 1, 1, 1), "a dimension is not positive"),
    "no slices": (patched("<8h", DIM, 3, 4, 5, 0, 1, 1, 1, 1), "a dimension is not positive"),
    "two dimensions": (patched("<8h", DIM, 2, 4, 5, 1, 1, 1, 1, 1), "not three dimensions"),
    "four dimensions": (patched("<8h", DIM, 4, 4, 5, 3, 2, 1, 1, 1), "not three dimensions"),
    "RGB": (patched("<h", DATATYPE, 128), "not plain numbers"),
    "complex": (patched("<h", DATATYPE, 32), "not plain numbers"),
    "metres": (patched("<b", UNITS, 1), "not in millimetres"),
    "voxels within the header": (patched("<f", VOX_OFFSET, 100.0), "vox_offset is not valid"),
    "no affine": (patched("<2h", QFORM, 0, 0), "neither sform nor qform"),
    "an affine of NaN": (patched("<12f", SROW, *[np.nan] * 12), "not finite"),
    "a singular affine": (patched("<12f", SROW, *[1.0] * 12), "singular|disagree"),
    "a header without its voxels": (patched("<4s", MAGIC, b"ni1\0"), "header without its voxels"),
    "voxels of NaN": (floats, "NaN or infinite"),
}


def spoil(path: Path, kind: str) -> str:
    """Spoil a good file in the way named; returns the words that its refusal must hold."""
    plain = gzip.decompress(path.read_bytes())
    change, text = KINDS[kind]
    path.write_bytes(change(plain))
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_ct_that_cannot_be_read_is_refused_at_import(kind: str, tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1], "b": [1]}, {"liver": 1})
    words = spoil(source / "imagesTr" / "a_0000.nii.gz", kind)
    text = refusal(source, tmp_path / "cohort")
    assert text.startswith("case a, SRC/imagesTr/a_0000.nii.gz: ")
    assert any(word in text for word in words.split("|"))


def test_a_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {}, {"liver": 1}, dataset={})
    rows = {"a": {"images": ["i.nii.gz"], "label": str(volume(source / "l.nii.gz", [1]))}}
    (source / "i.nii.gz").mkdir()
    nnunet(source, {}, {"liver": 1}, dataset=rows)
    assert refusal(source, tmp_path / "cohort") == "case a, SRC/i.nii.gz: the path is not a file; got a folder"


@pytest.mark.parametrize("name", MAKE)
def test_all_bad_files_are_listed_together_or_left_out_with_a_note(name: str, tmp_path: Path) -> None:
    source, cohort = MAKE[name](tmp_path / "src", ["a", "b", "c", "d"]), tmp_path / "cohort"
    images = {path.name.partition(".")[0].removesuffix("_0000"): path for path in source.rglob("*_0000.nii.gz")}
    images |= {path.parent.name: path for path in source.rglob("ct.nii.gz")}
    images |= {path.name.partition(".")[0]: path for path in source.rglob("imagesTr/?.nii.gz")}
    for case, kind in (("a", "HTML"), ("c", "truncated gzip"), ("d", "HTML")):
        spoil(images[case], kind)
    text = refusal(source, cohort, EXPERT)
    assert [line.partition(",")[0] for line in text.splitlines()] == ["case a", "case c", "case d"]
    report = import_into(source, cohort, ImportOptions(unreadable="leave-out", taken_as="expert"))
    assert [case.id for case in Cohort.open(cohort)] == list(report.added) == ["b"]
    assert report.notes == (
        "a, d: left out, since the CT can't be read: not a NIfTI file",
        "c: left out, since the CT can't be read: the file is truncated",
    )


def test_options_of_reading_apply_at_import(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1]}, {"liver": 1})
    (source / "imagesTr" / "a_0000.nii.gz").write_bytes(floats(b""))
    options = ImportOptions(reading=ReadOptions(nonfinite="clamp"), off_grid="keep")
    assert import_into(source, tmp_path / "cohort", options).added == ("a",)


def write(path: Path, shape: tuple[int, int, int], affine: Any, value: int = 1) -> None:
    nib.save(nib.Nifti1Image(np.full(shape, value, np.uint8), affine), path)  # type: ignore[no-untyped-call,attr-defined]


@pytest.mark.parametrize("name", MAKE)
def test_a_mask_of_another_cts_size_is_refused_or_kept_for_the_audit(name: str, tmp_path: Path) -> None:
    source, cohort = MAKE[name](tmp_path / "src", ["a", "b"]), tmp_path / "cohort"
    (mask,) = (
        path
        for path in source.rglob("*.nii.gz")
        if {"labelsTr", "segmentations", "Liver"} & {*path.parts} and "b" in (path.name[:1], path.parent.parent.name)
    )
    write(mask, (4, 5, 7), np.diag([-1.0, -1.0, 2.0, 1.0]))
    text = refusal(source, cohort, EXPERT)
    assert text.startswith(f"case b, {str(mask).replace(str(source), 'SRC')}: the mask does not lie on the CT's grid")
    assert "mask axes LPS, CT axes LPS, sizes differ" in text
    assert "--off-grid keep, then smiler audit --fix-geometry resample" in text
    report = import_into(source, cohort, ImportOptions(off_grid="keep", taken_as="expert"))
    assert report.notes == (
        "b: masks don't lie on their CT's grid, so that audit and training refuse them: smiler audit --fix-geometry",
    )


def test_a_mask_with_its_axes_exchanged_is_of_another_size(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1]}, {"liver": 1})
    write(source / "labelsTr" / "a.nii.gz", (5, 4, 6), np.diag([-1.0, -1.0, 2.0, 1.0]))
    assert "sizes differ: mask SPL (6, 4, 5)" in refusal(source, tmp_path / "cohort")


def test_a_mask_that_is_only_shifted_is_imported_with_a_note(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1], "b": [1]}, {"liver": 1})
    shifted = np.diag([-1.0, -1.0, 2.0, 1.0])
    shifted[0, 3] = 1.0
    write(source / "labelsTr" / "b.nii.gz", (4, 5, 6), shifted)
    assert import_into(source, tmp_path / "cohort").notes[0].startswith("b: masks don't lie on their CT's grid")


def test_the_command_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    source = nnunet(tmp_path / "src", {"a": [1], "b": [1]}, {"liver": 1})
    spoil(source / "imagesTr" / "a_0000.nii.gz", "0 bytes")
    for words, code, text in (
        ([], 2, "the file is empty"),
        (["--unreadable", "leave-out"], 0, "a: left out, since the CT can't be read: the file is empty"),
    ):
        monkeypatch.setattr("sys.argv", ["smiler", "import", str(source), str(tmp_path / "cohort"), *words])
        try:
            main()
            got = 0
        except SystemExit as stop:
            got = int(stop.code or 0)
        assert got == code
        assert text in capsys.readouterr().err
