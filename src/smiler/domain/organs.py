"""The organs of a cohort, in channel order, and which of them can share a voxel."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from smiler.domain.errors import BadInput

MAX_ORGANS = 31
_KEY = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Organ:
    """One organ: its key (column name), what a person reads, and its place in anatomy."""

    key: str
    title: str = ""
    snomed: str = ""
    colour: str = ""
    part_of: str | None = None
    overlaps: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or self.key in {"case", "patient", "image"}:
            raise BadInput(
                "not a usable organ key",
                where="organs",
                got=repr(self.key),
                do="use lower-case letters, digits and _, beginning with a letter, and not case, patient or image",
            )
        if self.colour and not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise BadInput("not a colour", where=f"organ {self.key}", got=repr(self.colour), do="write it as #rrggbb")
        if self.snomed and not re.fullmatch(r"\d{6,18}", self.snomed):
            raise BadInput("not a SNOMED CT code", where=f"organ {self.key}", got=repr(self.snomed))


@dataclass(frozen=True)
class OrganSet:
    """Organs in channel order with their relations. At most 31: they fit a signed 32-bit integer."""

    organs: tuple[Organ, ...]

    def __post_init__(self) -> None:
        keys = [organ.key for organ in self.organs]
        if not 1 <= len(keys) <= MAX_ORGANS:
            raise BadInput(f"a cohort has 1 to {MAX_ORGANS} organs", where="organs", got=str(len(keys)))
        for key in {key for key in keys if keys.count(key) > 1}:
            raise BadInput("the organ is declared twice", where=f"organ {key}")
        for organ in self.organs:
            for other in (*organ.overlaps, *([organ.part_of] if organ.part_of else [])):
                if other not in keys or other == organ.key:
                    raise BadInput(
                        "part_of and overlaps name other organs of the cohort",
                        where=f"organ {organ.key}",
                        got=repr(other),
                        do=f"choose among {', '.join(keys)}",
                    )
        for organ in self.organs:
            self._check_no_cycle(organ.key)

    def _check_no_cycle(self, key: str) -> None:
        seen, at = {key}, self[key].part_of
        while at is not None:
            if at in seen:
                raise BadInput("part_of runs in a circle", where=f"organ {key}", got=at)
            seen.add(at)
            at = self[at].part_of

    @classmethod
    def of(cls, *keys: str) -> "OrganSet":
        """Organs that all exclude each other, by key alone."""
        return cls(tuple(Organ(key) for key in keys))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in channel order."""
        return tuple(organ.key for organ in self.organs)

    def __len__(self) -> int:
        return len(self.organs)

    def __iter__(self) -> Iterator[Organ]:
        return iter(self.organs)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __getitem__(self, key: str) -> Organ:
        return self.organs[self.index(key)]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {organ.key: i for i, organ in enumerate(self.organs)}

    def index(self, key: str) -> int:
        """Channel of an organ; BadInput for an organ that the cohort does not have."""
        if key not in self._index:
            raise BadInput("no such organ", where="organs", got=repr(key), do=f"choose among {', '.join(self.keys)}")
        return self._index[key]

    def wholes(self, key: str) -> frozenset[str]:
        """Every organ that `key` is part of, transitively."""
        found, at = set(), self[key].part_of
        while at is not None:
            found.add(at)
            at = self[at].part_of
        return frozenset(found)

    def parts(self, key: str) -> frozenset[str]:
        """Every organ that is part of `key`, transitively."""
        return frozenset(other for other in self.keys if key in self.wholes(other))

    def exclusive(self, a: str, b: str) -> bool:
        """Whether no voxel belongs to both: neither contains the other and no overlap is declared. Symmetric."""
        related = a == b or a in self.wholes(b) or b in self.wholes(a)
        return not (related or b in self[a].overlaps or a in self[b].overlaps)

    def excluders(self, key: str) -> frozenset[str]:
        """Every organ that excludes `key`."""
        return frozenset(other for other in self.keys if self.exclusive(key, other))

    def bits(self, keys: Iterable[str]) -> int:
        """The organs as one integer: bit k is organ k."""
        return sum(1 << self.index(key) for key in set(keys))
