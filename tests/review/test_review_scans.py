"""CTs at hand: the likely first one is read before anybody asks, and no reading makes others wait."""

import threading
import time
from pathlib import Path

import numpy as np
from reviewing import serving

from smiler.domain.cohort import Cohort
from smiler.domain.geometry import Geometry
from smiler.formats.nifti import write_ct
from smiler.formats.volumes import CT
from smiler.review.scans import Scans

PATIENCE = 20


def test_the_first_ct_of_the_queue_is_read_before_anybody_asks(folder: Path) -> None:
    with serving(folder) as served:
        end = time.monotonic() + PATIENCE
        while not served.desk.scans._kept and time.monotonic() < end:
            time.sleep(0.01)
        read = [Path(path).name for path, _, _ in served.desk.scans._kept]
        anna = served.reviewer()
        first = anna.http.get("/api/queue", params={"limit": 1}).json()["items"][0]["title"]
    assert read == [served.desk.cohort.image_path(served.desk.cohort.case(first)).name]


def test_a_ct_at_hand_is_given_while_another_one_is_read(folder: Path) -> None:
    cohort, scans = Cohort.open(folder), Scans()
    begun, go_on, given = threading.Event(), threading.Event(), list[bytes]()

    def slow(ct: CT) -> bytes:
        begun.set()
        go_on.wait(PATIENCE)
        return b"slow"

    at_hand = scans.image(cohort, cohort.cases[0])
    reading = threading.Thread(target=scans._made, args=(cohort, cohort.cases[1], slow))
    asking = threading.Thread(target=lambda: given.append(scans.image(cohort, cohort.cases[0]).content))
    reading.start()
    assert begun.wait(PATIENCE)
    asking.start()
    asking.join(PATIENCE / 2)
    assert given == [at_hand.content]
    go_on.set()
    reading.join()


def test_a_ct_that_is_not_in_hu_is_told_once_and_shown_as_it_is(folder: Path) -> None:
    cohort, told = Cohort.open(folder), list[str]()
    scans, (one, other, *_) = Scans(told.append), cohort.cases
    stored = np.full((20, 20, 20), 40 + 1024, dtype=np.int16)  # fewer voxels would say too little
    stored[:, :8] = -1000 + 1024
    write_ct(cohort.image_path(one), stored, Geometry.canonical(stored.shape, (2.0, 1.0, 1.0)))
    for case in (one, other):
        assert scans.image(cohort, case).content
        assert scans.own_image(cohort, case).content
    (line,) = told
    assert line.startswith(f"case {one.id}, image {one.image}: the grey values are not HU (values from ")


def test_who_asks_for_the_same_ct_at_once_shares_one_reading(folder: Path) -> None:
    cohort, scans, made = Cohort.open(folder), Scans(), list[int]()

    def counted(ct: CT) -> bytes:
        made.append(ct.hu.size)
        time.sleep(0.05)
        return b"made"

    threads = [threading.Thread(target=scans._made, args=(cohort, cohort.cases[0], counted)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
