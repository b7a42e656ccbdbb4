"""One key for each organ, whatever a source calls it: the table is `synonyms.toml`, a user's file goes before it."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput, raise_all
from smiler.domain.organs import Organ
from smiler.formats.anatomy import ANATOMY

SHIPPED = Path(__file__).with_name("synonyms.toml")
_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_DISEASES = ("tumor", "tumour", "cancer", "lesion", "cyst", "mass", "neoplasm", "metastasis")
NAMELESS = frozenset((*_DISEASES, *(f"{name}s" for name in _DISEASES), "masses", "metastases"))


@dataclass(frozen=True)
class Synonyms:
    """Slug of a source's name -> organ key."""

    keys: Mapping[str, str]

    def key(self, name: str) -> str:
        """The organ key of a source's name; an unknown name is kept as its slug. Left and right stay apart.

        BadInput for a name that says no organ ("tumor") or can't be a column ("image").
        """
        slug = slug_of(name)
        if slug in self.keys:
            return self.keys[slug]
        if slug in NAMELESS:
            raise _no_key(name, "the name doesn't say of which organ", f'liver_tumor = ["{slug}"]')
        key = self._sided(slug) or slug
        try:
            Organ(key)
        except BadInput as error:
            raise _no_key(name, error.what, f'my_organ = ["{slug}"]') from error
        return key

    def _sided(self, slug: str) -> str | None:
        words = slug.split("_")
        sides = [word for word in words if word in _SIDES]
        if len(sides) != 1 or len(words) < 2:
            return None
        rest = "_".join(word for word in words if word not in _SIDES)
        key = f"{self.keys.get(rest, rest)}_{_SIDES[sides[0]]}"
        return self.keys.get(key)


def slug_of(name: str) -> str:
    """Lower case, accents off, everything but letters and digits to single underscores."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "_", plain.casefold()).strip("_")


def load_synonyms(own: Path | None = None) -> Synonyms:
    """The shipped table with the user's own file merged over it."""
    keys = {key: key for key in ANATOMY} | _read(SHIPPED)
    return Synonyms(keys | _read(own) if own else keys)


def _read(path: Path) -> dict[str, str]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("the synonyms can't be read", where=str(path), got=str(error)) from error
    keys: dict[str, str] = {}
    faults: list[BadInput] = []
    for key, names in table.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            faults.append(BadInput("not a list of names", where=f"{path}: {key}", do=f'write {key} = ["name", ...]'))
            continue
        try:
            Organ(key)
        except BadInput as error:
            faults.append(BadInput(error.what, where=str(path), got=repr(key), do=error.do))
        for slug in dict.fromkeys(map(slug_of, names)):
            if keys.setdefault(slug, key) != key:
                faults.append(BadInput("one name for two organs", where=str(path), got=f"{slug}: {keys[slug]}, {key}"))
    raise_all(faults)
    return {key: key for key in table} | keys


def _no_key(name: str, what: str, line: str) -> BadInput:
    do = f"leave it out with --organs, or name it in a file given with --synonyms, as in {line}"
    return BadInput(what, where=f"organ {name!r}", do=do)
