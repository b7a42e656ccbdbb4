"""Four reviewers who decide as fast as they can while the server is killed again and again; and one large CT.

    make bench-review      # results/review/load.json

Every acknowledged decision must be in the history unchanged, and get its first answer again under its key.
"""

import json
import random
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import about
from benchmarks.parts.reviewing import Request, Reviewer, Server, corrected, serving, verified
from smiler.domain.cells import Cell, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.domain.provenance import Provenance, beside
from smiler.formats.nifti_grid import grid_of
from smiler.formats.nifti_write import write_ct, write_labels
from smiler.review.masks import Box
from smiler.review.states import ALLOWED, Decision, State
from smiler.review.verify import open_ledger

RESULT = Path(__file__).parents[1] / "results" / "review" / "load.json"
VOLUMES, SHAPE = 120, (32, 48, 48)
LARGE = (300, 512, 512)
KEYS = ("liver", "spleen", "pancreas", "stomach", "aorta", "bladder")
NAMES = ("anna", "ben", "clara", "dora")
DECISIONS, KILLS, REPEATS = 2000, 8, 7
CORRECTED_SHARE = 0.25
GOALS = {"decision_p99_ms": 250, "image_and_mask_s": 7, "stroke_ms": 200}


def geometry(shape: tuple[int, int, int]) -> Geometry:
    """Slices of 2 mm, pixels of 0.8 mm."""
    return Geometry(shape, ((0.0, 0.0, 0.8, 0.0), (0.0, 0.8, 0.0, 0.0), (2.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))


def slab(organ: str, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Where along i an organ may lie, half-open: no two of them meet."""
    width = shape[2] // len(KEYS)
    first = KEYS.index(organ) * width
    return first, first + width


def body(shape: tuple[int, int, int], seed: int) -> NDArray[np.int16]:
    """A body with noise, in air."""
    draw = np.random.default_rng(seed)
    z, y, x = shape
    within = ((np.arange(y) / y - 0.5)[:, None] / 0.35) ** 2 + ((np.arange(x) / x - 0.5) / 0.45) ** 2 < 1
    hu = np.empty(shape, np.int16)
    for k in range(z):
        hu[k] = np.where(within, 40, -1000) + 15 * draw.standard_normal((y, x), np.float32)
    return hu


def cohort_of(folder: Path, count: int, shape: tuple[int, int, int], organs: Iterable[str]) -> Cohort:
    """CTs with a proposal of each of these organs."""
    cases, where = [], geometry(shape)
    for n in range(count):
        name, cells = f"v{n:03d}", dict[str, Cell]()
        for path in (folder / "ct", folder / "completed"):
            path.mkdir(parents=True, exist_ok=True)
        write_ct(folder / f"ct/{name}.nii.gz", body(shape, n), where)
        for organ in organs:
            path = f"completed/{name}_{organ}.nii.gz"
            mask = np.zeros(shape, np.uint8)
            first, last = slab(organ, shape)
            mask[
                shape[0] // 4 : -(shape[0] // 4), shape[1] // 4 : -(shape[1] // 4), shape[2] - last : shape[2] - first
            ] = 1
            write_labels(folder / path, mask, grid_of(where))
            facts = {"round": 1, "voxels": int(mask.sum()), "agreement": 0.8}
            Provenance("relabel", {"model": "0f" * 32}, facts).save(folder / beside(path))
            cells[organ] = proposed(path)
        cases.append(Case(name, name, f"ct/{name}.nii.gz", cells))
    cohort = Cohort(folder, OrganSet(tuple(map(Organ, KEYS))), tuple(cases), "load")
    cohort.save()
    return cohort


@dataclass
class Load:
    """What the reviewers were told, and how long it took."""

    server: Server
    acknowledged: list[tuple[Request, dict[str, Any]]] = field(default_factory=list)
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: int = 0
    stale: int = 0
    asked_again: int = 0
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until enough is acknowledged; the server is killed at random moments on the way."""
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(len(NAMES))]
        for thread in threads:
            thread.start()
        draw = random.Random(0)
        for moment in sorted(draw.sample(range(DECISIONS // 20, DECISIONS), KILLS)):
            while len(self.acknowledged) < moment and not self.faults:
                time.sleep(0.005)
            time.sleep(draw.random() / 10)
            self.server.kill()
            print("killed after", moment, "decisions", flush=True)
        for thread in threads:
            thread.join()

    def _work(self, n: int) -> None:
        reviewer, choose = Reviewer(self.server, NAMES[n]), random.Random(n)
        try:
            cases = sorted({item["case"] for item in reviewer.get("queue", limit=500)["items"]})
            while len(self.acknowledged) < DECISIONS and not self.faults:
                self._count(*self._decide(reviewer, choose, cases))
        except Exception as error:
            self.faults.append(repr(error))
            raise
        finally:
            self.asked_again += reviewer.asked_again
            reviewer.close()

    def _decide(self, reviewer: Reviewer, choose: random.Random, cases: list[str]) -> tuple[Request, Any, float]:
        case, organ = choose.choice(cases), choose.choice(KEYS)
        row = next(row for row in reviewer.get(f"cases/{case}")["organs"] if row["key"] == organ)
        if choose.random() < CORRECTED_SHARE:
            first, last = slab(organ, SHAPE)
            box = Box((first, choose.randrange(10), choose.randrange(10)), (last, 40, 30))
            voxels = (np.random.default_rng(choose.getrandbits(32)).random(box.shape) < 0.9).astype(np.uint8)
            request = corrected(case, organ, row["revision"], box, voxels)
        else:
            may = [decision for decision in Decision if State(row["state"]) in ALLOWED[decision]]
            request = Request(case, organ, row["revision"], choose.choice(may))
        return request, *reviewer.send(request)

    def _count(self, request: Request, answer: Any, seconds: float) -> None:
        with self._lock:
            if answer.status_code == 200:
                self.acknowledged.append((request, answer.json()))
                self.seconds[request.kind].append(seconds)
            elif answer.status_code == 412:
                self.stale += 1
            elif answer.status_code == 409:
                self.refused += 1
            else:
                self.faults.append(f"{answer.status_code} {answer.text}")


def lost(server: Server, load: Load) -> dict[str, int]:
    """Acknowledged revisions that the history does not have or tells otherwise, and first answers not given again."""
    reviewer, histories, missing, other = Reviewer(server, NAMES[0]), dict[tuple[str, str], Any](), 0, 0
    reviewers = {name: Reviewer(server, name) for name in NAMES}
    for request, told in load.acknowledged:
        pair = (request.case, request.organ)
        if pair not in histories:
            rows = reviewer.get(f"cases/{request.case}/history/{request.organ}")["revisions"]
            histories[pair] = {row["revision"]: row for row in rows}
        missing += histories[pair].get(told["revision"]) != told
        other += reviewers[told["reviewer"]].write(request).json() != told
    for one in (reviewer, *reviewers.values()):
        one.close()
    return {"not_in_the_history": missing, "another_answer_under_the_same_key": other}


def behind(folder: Path) -> int:
    """Cells of cases.csv that don't say what the heads say."""
    cohort, ledger = Cohort.open(folder), open_ledger(folder)
    heads = ledger.heads()
    ledger.close()
    return sum(str(cohort.case(pair.case).cell(pair.organ)) != head.cell for pair, head in heads.items())


def quantiles(seconds: Iterable[float]) -> dict[str, float]:
    """In ms; decisions that a kill interrupted are not among them."""
    found = np.array([value for value in seconds if value == value])
    told = {f"p{q}": round(float(np.percentile(found, q)) * 1000, 1) for q in (50, 95, 99)}
    return {"count": len(found), **told, "most": round(float(found.max()) * 1000, 1)}


def many(folder: Path) -> dict[str, Any]:
    """The load."""
    cohort_of(folder, VOLUMES, SHAPE, KEYS)
    with serving(folder, *NAMES) as server:
        begin, load = time.monotonic(), Load(server)
        load.run()
        took, starts = time.monotonic() - begin, server.start_seconds
        if load.faults:
            raise SystemExit("\n".join(load.faults))
        checked = lost(server, load)
    told = verified(folder)
    return {
        "volumes": VOLUMES,
        "shape_zyx": SHAPE,
        "organs": len(KEYS),
        "reviewers": len(NAMES),
        "acknowledged": len(load.acknowledged),
        "kills": KILLS,
        "asked_again_after_a_kill": load.asked_again,
        "stale": load.stale,
        "refused": load.refused,
        "took_seconds": round(took, 1),
        "start_seconds": starts,
        **checked,
        "cells_behind": behind(folder),
        "verify": {key: told[key] for key in ("events", "revisions", "masks", "faults")},
        "decision_ms": quantiles(value for kind in load.seconds.values() for value in kind),
        "by_kind_ms": {kind: quantiles(seconds) for kind, seconds in sorted(load.seconds.items())},
    }


def in_seconds(work: Any, *words: Any) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    work(*words)
    return time.perf_counter() - begin


def large(folder: Path) -> dict[str, Any]:
    """One CT of the largest usual size: the first look, and what writing costs."""
    cohort_of(folder, 1, LARGE, KEYS[:1])
    with serving(folder, NAMES[0]) as server:
        reviewer = Reviewer(server, NAMES[0])
        case = reviewer.get("queue")["items"][0]["case"]
        look = {
            "image_s": round(in_seconds(reviewer.raw, f"cases/{case}/image"), 2),
            "mask_s": round(in_seconds(reviewer.raw, f"cases/{case}/masks/liver"), 2),
        }
        written = {name: in_turn(reviewer, case, *what) for name, what in STROKES.items()}
        reviewer.close()
    return {"shape_zyx": LARGE, **look, "image_and_mask_s": round(sum(look.values()), 2), "writes_ms": written}


_WHOLE = Box((0, 0, 0), (LARGE[2], LARGE[1], LARGE[0]))
_LIVER = Box((0, 128, 75), (slab("liver", LARGE)[1], 384, 225))
_STROKE = Box((200, 200, 150), (260, 230, 151))
STROKES: dict[str, tuple[str, str, Box]] = {
    "draft_of_a_stroke": ("drafts", "spleen", _STROKE),
    "mask_of_a_stroke": ("masks", "spleen", _STROKE),
    "mask_of_an_organs_box": ("masks", "liver", _LIVER),
    "mask_of_the_whole_grid": ("masks", "liver", _WHOLE),
}
"""What is written: where, of which organ, in which box; in the last two the organ with a few voxels less."""


def in_turn(reviewer: Reviewer, case: str, kind: str, organ: str, box: Box) -> dict[str, float]:
    """Median and most in ms of a few writes, no two alike."""
    spent = []
    for repeat in range(REPEATS):
        voxels = np.zeros(box.shape, np.uint8, order="F")
        voxels[(_LIVER if organ == "liver" else box).within(box)] = 1
        voxels[box.shape[0] // 20, box.shape[1] // 2 + repeat, box.shape[2] // 2] = 0
        base = next(row["revision"] for row in reviewer.get(f"cases/{case}")["organs"] if row["key"] == organ)
        request = corrected(case, organ, base, box, voxels)
        begin = time.perf_counter()
        reviewer.write(request, kind).raise_for_status()
        spent.append(1000 * (time.perf_counter() - begin))
    return {"median": round(float(np.median(spent)), 1), "most": round(max(spent), 1)}


def main() -> None:
    """Load, look, write."""
    packages = ("smiler-seg", "fastapi", "uvicorn", "starlette", "httpx", "isal", "numpy")
    head = about("make bench-review", packages)
    with tempfile.TemporaryDirectory() as folder:
        outcome = head | {
            "goals": GOALS,
            "load": many(Path(folder) / "load"),
            "large_ct": large(Path(folder) / "large"),
        }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
