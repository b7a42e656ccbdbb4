"""Who made the masks of an import: what the user says, or signs show; kept on record, and asked where neither tells."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from smiler.domain.cells import Cell, annotated
from smiler.domain.errors import BadInput
from smiler.domain.origin import Note, as_note
from smiler.domain.provenance import Provenance
from smiler.formats.base import Format, ImportOptions, RawCase, absolute, some
from smiler.formats.programs import Sign, Signs

MOST_SIGNS = 3


class Unattributed(BadInput):
    """Masks of which a sign says that a program drew them, as (case, organ)."""

    def __init__(self, found: Mapping[tuple[str, str], Sign], where: str) -> None:
        self.pairs = tuple(found)
        kinds = list(dict.fromkeys(f"{sign.program}: {sign.what}" for sign in found.values()))
        more = f" and {len(kinds) - MOST_SIGNS} more" if len(kinds) > MOST_SIGNS else ""
        super().__init__(
            "a program may have drawn these masks: has an expert accepted them?",
            where=where,
            got=f"{len(found)} (case organ): {some([' '.join(pair) for pair in self.pairs])}; "
            f"signs: {'; '.join(kinds[:MOST_SIGNS])}{more}",
            do="say --as proposals if nobody has checked them, --as expert if an expert drew or accepted each",
        )


@dataclass
class Makers:
    """Settles it mask by mask. asked: what only the user can tell. notes: of (mask, organ), for the cohort."""

    source: Path
    format: Format
    options: ImportOptions
    asked: dict[tuple[str, str], Sign] = field(default_factory=dict)
    notes: dict[tuple[Path, str], Note] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def taken(self, raw: RawCase, name: str, key: str) -> Cell:
        """A mask's cell as the user's word, or else the source, has it: annotated, or a proposal."""
        cell, about = raw.cells[name], raw.about.get(name, {})
        if not cell.path:
            return cell
        sign = self._signs.of(Path(cell.path), raw.id, key, about)
        accepted = about.get("kind") == "AUTOMATIC" and self.options.automatic_is_accepted
        if sign and not cell.auto and self.options.taken_as == "ask" and not accepted:
            self.asked[raw.id, key] = sign
            return cell
        cell = self.as_said(cell)
        self._record(Path(cell.path), key, cell, sign, about)
        return cell

    def as_said(self, cell: Cell) -> Cell:
        """The cell as the user says; unchanged where they say nothing."""
        if cell.path and self.options.taken_as == "proposals":
            self.counts["masks are taken as proposals, as asked"] += not cell.auto
            return Cell(path=cell.path, labels=cell.labels, auto=True)
        return annotated(cell.path, cell.labels) if cell.auto and self.options.taken_as == "expert" else cell

    def told(self) -> list[str]:
        """What a person should know."""
        return [f"{count} {what}" for what, count in self.counts.items() if count]

    def leave_out(self, case: str) -> None:
        """A case that is not imported after all."""
        self.asked = {pair: sign for pair, sign in self.asked.items() if pair[0] != case}

    def _record(self, path: Path, key: str, cell: Cell, sign: Sign | None, about: Mapping[str, str]) -> None:
        if not (cell.auto or about or (sign and sign.sure)):
            return
        facts = {"as": "proposals" if cell.auto else "expert", "format": self.format.name, **about}
        facts["source"] = str(absolute(self.source))
        if sign:
            facts["sign"] = sign.what
        if sign and sign.sure:
            facts["program"] = sign.program
            if not cell.auto:
                self.counts[f"masks of {sign.program} ({sign.what}) are taken as accepted by an expert, as asked"] += 1
        self.notes[path, key] = as_note(Provenance("import", {}, facts))

    @cached_property
    def _signs(self) -> Signs:
        return Signs(self.source, self.format.program)
