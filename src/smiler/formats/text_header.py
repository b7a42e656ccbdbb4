"""What the text header of a MetaImage or NRRD file says, checked before any voxel is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput


@dataclass(frozen=True)
class TextHeader:
    """How voxels are stored and where they lie.

    shape: of the file's own array (i, j, k), i fastest. scaling: (slope, intercept) or None.
    spacing: (i, j, k) in mm; lps: from (i, j, k, 1) to LPS mm, None where the file doesn't say.
    packed: zlib or gzip data. file: where the voxels are, None for behind the header in the same file.
    skip: bytes before them, -1: they are the last bytes of the file.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    spacing: tuple[float, float, float] | None
    lps: NDArray[np.float64] | None
    packed: bool
    file: Path | None
    skip: int = 0
    scaling: tuple[float, float] | None = None


@dataclass(frozen=True)
class Fields:
    """The fields of a header by their names in lower case; BadInput for one that is missing or not as it must be."""

    values: Mapping[str, str]
    where: str

    def get(self, *names: str) -> str | None:
        """The value of the first of these fields that is there."""
        return next((self.values[name] for name in names if name in self.values), None)

    def need(self, *names: str) -> str:
        """The same; BadInput if there is none."""
        value = self.get(*names)
        if value is None:
            raise BadInput("the header lacks a field", where=self.where, got=f"no {names[0]}", do="get the file again")
        return value

    def one_of(self, table: Mapping[str, Any], *names: str) -> Any:
        """What the table says of the field's value, in lower case."""
        value = self.need(*names)
        if value.lower() not in table:
            do = f"convert the volume to .nii.gz, or to {', '.join(dict.fromkeys(table))}"
            raise BadInput(f"the header's {names[0]} is not read", where=self.where, got=ascii(value), do=do)
        return table[value.lower()]

    def numbers(self, text: str, count: int, name: str) -> list[float]:
        """So many numbers."""
        try:
            found = [float(part) for part in text.split()]
        except ValueError:
            found = []
        if len(found) != count:
            raise BadInput(f"{name} is not {count} numbers", where=self.where, got=ascii(text), do="mend the header")
        return found

    def shape(self, text: str, name: str) -> tuple[int, int, int]:
        """Three positive whole numbers."""
        i, j, k = self.numbers(text, 3, name)
        if not all(math.isfinite(n) and n.is_integer() and n >= 1 for n in (i, j, k)):
            raise BadInput("a dimension is not positive", where=self.where, got=ascii(text))
        return int(i), int(j), int(k)

    def whole(self, text: str, name: str) -> int:
        """One whole number."""
        (number,) = self.numbers(text, 1, name)
        if not (math.isfinite(number) and number.is_integer()):
            raise BadInput(f"{name} is not a whole number", where=self.where, got=ascii(text))
        return int(number)

    def detached(self, header: Path, name: str) -> Path:
        """The file of voxels that the header names: beside it or below."""
        path = Path(name)
        if not name or "\0" in name or path.is_absolute() or ".." in path.parts or "%" in name:
            do = "put header and voxels into one folder and one file each, or convert the volume to .nii.gz"
            raise BadInput("the voxels are not in one file beside the header", where=self.where, got=ascii(name), do=do)
        if not (header.parent / path).is_file():
            do = "put it there, or convert the volume to .nii.gz"
            raise BadInput("the file with the voxels is not there", where=self.where, got=ascii(name), do=do)
        return header.parent / path


def fields_of(pairs: list[tuple[str, str]], where: str) -> Fields:
    """The fields; BadInput for one that stands twice."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise BadInput("a field of the header stands twice", where=where, got=ascii(name), do="keep the right one")
        values[name] = value
    return Fields(values, where)
