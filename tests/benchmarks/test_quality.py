"""The comparison of what is learned in minutes: jobs, the clock, nnU-Net's label maps, the table; no peer is needed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from benchmarks.quality.clock import Budget, cpu_seconds
from benchmarks.quality.curves import draw, table
from benchmarks.quality.data import label_map, raw_data, training_cases
from benchmarks.quality.settings import METHODS, Job, jobs

from smiler.domain.cohort import Cohort


def test_every_job_has_a_name_of_its_own_and_comes_back_from_it() -> None:
    listed = jobs()
    assert len({job.name for job in listed}) == len(listed)
    assert [Job.of(job.name) for job in listed] == listed
    assert [job.budget for job in listed] == sorted(job.budget for job in listed)
    assert Job.of("nnunet-2d-ignore-hidden70-10min-seed0") == Job("nnunet-2d-ignore", 0.7, 10, 0)
    with pytest.raises(ValueError, match="no method 'other'"):
        Job.of("other-hidden0-10min-seed0")


def test_ours_has_two_seeds_and_nnunet_every_way_of_hidden_annotations() -> None:
    assert all(len(method.seeds) >= 2 for method in METHODS.values() if method.tool == "ours")
    hidden = {(m.network, m.data) for m in METHODS.values() if m.tool == "nnunet_peer" and 0.7 in m.alphas}
    assert hidden == {(net, way) for net in ("2d", "3d_fullres") for way in ("background", "ignore", "organs")}


def test_the_clock_counts_children_that_run_and_that_ended() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\n"
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", work], check=True, stdout=subprocess.DEVNULL)
    assert cpu_seconds() - before >= 0.25
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", f"{work}input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        assert cpu_seconds() - before >= 0.25
        process.communicate(b"\n")


def test_a_budget_tells_its_parts_and_leaves_out_what_only_measured() -> None:
    now = [100.0]
    budget = Budget(1, lambda: now[0])
    now[0] = 112.0
    budget.part("preparation")
    now[0] = 120.0
    budget.pause(8.0)
    assert (budget.spent, budget.left) == (12.0, 48.0)
    now[0] = 144.0
    budget.part("training")
    assert budget.parts == {"preparation": 12.0, "training": 24.0}
    assert budget.share(since=12.0) == 0.5
    with pytest.raises(ValueError, match="above 0"):
        Budget(0)


def test_ignored_is_what_no_organ_fills_where_one_is_unknown() -> None:
    first, second = np.array([True, False, False, True]), np.array([False, True, False, True])
    assert label_map([first, second], ignore=3).tolist() == [1, 2, 0, 2]
    assert label_map([first, None], ignore=3).tolist() == [1, 3, 3, 1]
    assert label_map([first, None], ignore=None).tolist() == [1, 0, 0, 1]
    with pytest.raises(ValueError, match="no organ"):
        label_map([None, None], ignore=3)


def test_raw_data_sets_for_nnunet(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path / "cohort")
    organs = ("brainstem", "mandible")
    assert [case.id for case in training_cases(cohort, "background", organs)] == ["both", "one", "none"]
    for way, numbers, ignored in (("background", 3, 0), ("ignore", 2, 3)):
        raw_data(cohort, tmp_path / way, way, organs)
        about = json.loads((tmp_path / way / "dataset.json").read_text())
        assert about["numTraining"] == numbers == len(list((tmp_path / way / "labelsTr").iterdir()))
        assert about["labels"].get("ignore") == (3 if ignored else None)
        labels = np.asarray(nib.load(tmp_path / way / "labelsTr" / "one.nii.gz").dataobj)
        assert (labels[0, 0, 0], labels[3, 3, 3]) == (1, ignored)
    raw_data(cohort, tmp_path / "organs", "organs", ("mandible",))
    assert [path.name for path in (tmp_path / "organs" / "imagesTr").iterdir()] == ["both_0000.nii.gz"]
    assert (tmp_path / "organs" / "imagesTr" / "both_0000.nii.gz").is_symlink()


def test_the_table_compares_case_by_case_with_the_best_nnunet(tmp_path: Path) -> None:
    rows = [
        _row("smiler-unet", 0, [80, 84, 88]),
        _row("smiler-unet", 1, [82, 86, 90]),
        _row("nnunet-2d", 0, [79, 83, 87], load=7.2),
        _row("nnunet-3d", 0, [60, 60, 60]),
    ]
    lines = table(rows).splitlines()[2:]
    assert lines[0].startswith("| 0% | 10 | 10.5 | smiler unet | 85.0 (84.0 to 86.0) |")
    assert "| +2.0 [+2.0, +2.0] |" in lines[0]
    assert lines[0].endswith("| 3 | 2 | 0.5 |")
    assert "| its best |" in lines[1]
    assert lines[1].endswith("| 7.2 busy |")
    assert "| -23.0 [" in lines[2]
    draw(rows, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")


def _row(method: str, seed: int, dice: list[float], load: float = 0.5) -> dict[str, Any]:
    values = {f"case{number}": {"mandible": [value, value]} for number, value in enumerate(dice)}
    mean = {"dice": sum(dice) / len(dice), "nsd": 50.0}
    return {
        "job": vars(Job(method, 0.0, 10, seed)),
        "load": [0.1, load],
        "spent_s": {"all": 630.0},
        "facts": {"steps": 1000},
        "scores": {"cases": len(dice), "mean": mean, "values": values},
    }


def _cohort(folder: Path) -> Cohort:
    (folder / "files").mkdir(parents=True)
    (folder / "cohort.toml").write_text('format = 1\n[[organ]]\nkey = "brainstem"\n[[organ]]\nkey = "mandible"\n')
    first, second = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    first[0], second[1] = 1, 1
    for name, voxels in (("ct", first.astype(np.int16)), ("first", first), ("second", second)):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "files" / f"{name}.nii.gz")
    ct, one, two = (f"files/{name}.nii.gz" for name in ("ct", "first", "second"))
    cases = f"both,a,{ct},{one},{two}\none,b,{ct},{one},\nnone,c,{ct},,\n"
    (folder / "cases.csv").write_text(f"case,patient,image,brainstem,mandible\n{cases}")
    return Cohort.open(folder)
