"""A tiny cohort with proposals, and a reviewer who drives the server as the page does."""

import gzip
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import ABSENT, Cell, annotated, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.organs import Organ, OrganSet
from smiler.domain.provenance import Provenance
from smiler.review.desk import Desk, at_desk
from smiler.review.server.connections import Patience
from smiler.review.server.run import Bound, ServeOptions, bind

ORGANS = OrganSet((Organ("liver"), Organ("tumour", part_of="liver"), Organ("spleen"), Organ("aorta")))
SHAPE = (12, 10, 6)
"""(i, j, k), RAS+."""
Mask = NDArray[np.uint8]


def box_mask(*box: int) -> Mask:
    """1 in a half-open box i0, j0, k0, i1, j1, k1 of the page's grid."""
    mask = np.zeros(SHAPE, np.uint8, order="F")
    mask[tuple(slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))] = 1
    return mask


LIVER, SPLEEN, AORTA = box_mask(1, 1, 1, 5, 5, 4), box_mask(7, 2, 1, 10, 5, 4), box_mask(5, 6, 0, 7, 8, 6)
MASKS = {"liver": LIVER, "spleen": SPLEEN, "aorta": AORTA}


def write(path: Path, ras: NDArray[Any], axes: str) -> None:
    """Write an array that is given on the RAS+ grid in a file whose axes run otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(ras), np.diag([2.0, 2.0, 3.0, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), path)


def make_cohort(folder: Path) -> Cohort:
    """Case a is an expert's, b and c have proposals of one model, d has nothing. Each file has other axes."""
    cases = []
    for name, axes in zip("abcd", ("RAS", "LPS", "LAS", "PIR"), strict=True):
        hu = np.random.default_rng(ord(name)).integers(-1000, 1000, SHAPE).astype(np.int16)
        write(folder / f"ct/{name}.nii.gz", hu, axes)
        cells: dict[str, Cell] = {}
        for organ, mask in MASKS.items() if name != "d" else ():
            path = f"{'labels' if name == 'a' else 'completed'}/{name}_{organ}.nii.gz"
            write(folder / path, mask, axes)
            cells[organ] = annotated(path) if name == "a" else proposed(path)
            if name != "a":
                facts = {"round": 2, "voxels": int(mask.sum()), "agreement": 0.8 if name == "b" else 0.95}
                about = (folder / path).with_name(f"{name}_{organ}.json")
                Provenance("relabel", {"model": "0f" * 32}, facts).save(about)
        cases.append(Case(name, name, f"ct/{name}.nii.gz", cells | ({"tumour": ABSENT} if name == "a" else {})))
    cohort = Cohort(folder, ORGANS, tuple(cases), "tiny")
    cohort.save()
    return cohort


def cells(folder: Path) -> dict[str, dict[str, str]]:
    """What cases.csv says."""
    return {case.id: {key: str(case.cell(key)) for key in ORGANS.keys} for case in Cohort.open(folder)}


def stored(folder: Path, case: str, organ: str) -> Mask:
    """The mask that a cell of cases.csv names, brought to the page's grid by nibabel alone."""
    path = Cohort.open(folder).mask_path(Cohort.open(folder).case(case), organ)
    array: Mask = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).astype(np.uint8)
    return array


class Reviewer:
    """One signed-in browser."""

    def __init__(self, url: str) -> None:
        self.base = url.split("/?")[0]
        self.http = httpx.Client(base_url=self.base, headers={"origin": self.base}, timeout=60)
        assert self.http.get(url).status_code == 303
        self.session = self.http.get("/api/session").json()
        self.http.headers["x-xsrf-token"] = self.session["xsrf"]
        items = self.http.get("/api/queue", params={"limit": 500}).json()["items"]
        self.ids = {item["title"]: item["case"] for item in items}

    def close(self) -> None:
        """Hang up."""
        self.http.close()

    def head(self, case: str, organ: str) -> dict[str, Any]:
        """The organ's row in the case."""
        organs = self.http.get(f"/api/cases/{self.ids[case]}").json()["organs"]
        found: dict[str, Any] = next(row for row in organs if row["key"] == organ)
        return found

    def headers(self, base: int, key: str | None = None) -> dict[str, str]:
        """What every write has."""
        return {"if-match": f'"{base}"', "idempotency-key": key or uuid.uuid4().hex}

    def decide(self, case: str, organ: str, decision: str, base: int | None = None, **more: Any) -> httpx.Response:
        """A decision on the revision `base`, else on the newest."""
        base = self.head(case, organ)["revision"] if base is None else base
        key = more.pop("key", None)
        url = f"/api/cases/{self.ids[case]}/decisions/{organ}"
        return self.http.post(url, json={"decision": decision, **more}, headers=self.headers(base, key))

    def put(self, case: str, organ: str, mask: Mask, base: int | None = None, **more: Any) -> httpx.Response:
        """A corrected mask, the whole grid."""
        base = self.head(case, organ)["revision"] if base is None else base
        key = more.pop("key", None)
        url = f"/api/cases/{self.ids[case]}/masks/{organ}"
        body = more.pop("body", None) or gzip.compress(mask.tobytes(order="F"), 1)
        return self.http.put(url, content=body, params=more, headers=self.headers(base, key))

    def mask(self, case: str, organ: str, revision: int | None = None) -> Mask:
        """The mask as the page gets it."""
        asked = {} if revision is None else {"revision": revision}
        answer = self.http.get(f"/api/cases/{self.ids[case]}/masks/{organ}", params=asked)
        assert answer.status_code == 200, answer.text
        found: Mask = np.asarray(nib.Nifti1Image.from_bytes(answer.content).dataobj)
        return found

    def box(self, case: str, organ: str) -> Mask:
        """The mask as it travels to the page, in the whole grid."""
        answer = self.http.get(f"/api/cases/{self.ids[case]}/boxes/{organ}")
        i, j, k, *stop = map(int, answer.headers["x-box"].split(","))
        found = np.zeros(tuple(map(int, answer.headers["x-shape"].split(","))), np.uint8)
        part = np.frombuffer(gzip.decompress(answer.content), np.uint8)
        inside = found[i : stop[0], j : stop[1], k : stop[2]]
        inside[:] = part.reshape(inside.shape, order="F")
        return found

    def history(self, case: str, organ: str) -> list[dict[str, Any]]:
        """Every revision."""
        rows: list[dict[str, Any]] = self.http.get(f"/api/cases/{self.ids[case]}/history/{organ}").json()["revisions"]
        return rows


class Served:
    """A running server."""

    def __init__(self, folder: Path, desk: Desk, bound: Bound, told: list[str]) -> None:
        self.folder, self.desk, self.told = folder, desk, told
        self.urls, self.slicer, self.room = bound.urls, bound.slicer, bound.room
        self.port: int = bound.listener.getsockname()[1]
        self.open: list[Reviewer] = []

    def reviewer(self, name: str = "anna") -> Reviewer:
        """Sign in."""
        self.open.append(Reviewer(self.urls[name]))
        return self.open[-1]


@contextmanager
def serving(
    folder: Path,
    reviewers: tuple[str, ...] = ("anna", "ben"),
    page: Path | None = None,
    monailabel: bool = False,
    repeats: float = 0.0,
    public_url: str = "",
    patience: Patience | None = None,
) -> Iterator[Served]:
    """The real server on a free port, in a thread of this process."""
    told: list[str] = []
    with at_desk(folder, told.append) as desk:
        options = ServeOptions(
            reviewers=reviewers,
            page=page,
            monailabel=monailabel,
            repeats=repeats,
            public_url=public_url,
            patience=patience or Patience(),
        )
        bound = bind(desk, options)
        thread = threading.Thread(target=bound.run)
        thread.start()
        served = Served(folder, desk, bound, told)
        try:
            yield served
        finally:
            for reviewer in served.open:
                reviewer.close()
            while not bound.server.started and thread.is_alive():
                time.sleep(0.01)
            bound.server.should_exit = True
            thread.join(timeout=30)
