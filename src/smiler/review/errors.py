"""What the review refuses: a BadInput with the HTTP status that says it to the page."""

from dataclasses import dataclass

from smiler.domain.errors import BadInput


class Refused(BadInput):
    """A request that can't be granted. Status: 403, 404, 409 (not in this state), 413, 422 (malformed), 428."""

    def __init__(self, status: int, what: str, *, where: str, got: str = "", do: str = "") -> None:
        super().__init__(what, where=where, got=got, do=do)
        self.status = status


class Damaged(BadInput):
    """A mask of the review that is not what was stored."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One organ in one volume: what is decided on."""

    case: str
    organ: str

    def __str__(self) -> str:
        return f"case {self.case}, organ {self.organ}"
