"""What tests of several rooms share: small phantoms, made once a process."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from shared_phantoms import MOST, Phantoms

from smiler.domain.cohort import Cohort
from smiler.experiments.phantom_cohort import make_phantom_cohort


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """Make a cohort of so many complete phantoms of 8x32x32 voxels in a folder. (All are generated once.)"""
    made = make_phantom_cohort(tmp_path_factory.mktemp("phantoms") / "all", MOST, (8, 32, 32))

    def cohort(folder: Path, cases: int) -> Cohort:
        some = replace(made, folder=folder, cases=made.cases[:cases])
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
            for case in some:
                shutil.copy(made.folder / part / f"{case.id}.nii.gz", folder / part)
        some.save()
        return some

    return cohort
