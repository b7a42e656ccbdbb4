"""What holds for every phantom: exclusion, nesting, absence, determinism, clear errors."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.phantom import ORGANS, PhantomCase, PhantomOptions, generate

SMALL = PhantomOptions(shape=(12, 48, 48))


def check_invariants(case: PhantomCase, shape: tuple[int, int, int]) -> None:
    assert case.hu.shape == shape
    assert case.hu.dtype == np.int16
    assert -1024 <= case.hu.min() < -900
    wholes = [case.masks[organ.key] for organ in ORGANS if organ.part_of is None]
    assert np.sum(wholes, axis=0).max() == 1
    assert not (case.masks["liver_tumor"] & ~case.masks["liver"]).any()
    for organ in ORGANS:
        mask = case.masks[organ.key]
        assert mask.shape == shape
        assert mask.dtype == np.bool_
        assert mask.any() == (organ.key not in case.absent), organ.key


def test_invariants_at_the_default_size(patients: list[PhantomCase]) -> None:
    for case in patients:
        check_invariants(case, PhantomOptions().shape)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    shape=st.tuples(st.integers(8, 20), st.integers(32, 60), st.integers(32, 60)),
    deformation_mm=st.floats(0, 20),
)
def test_invariants_at_any_size(seed: int, shape: tuple[int, int, int], deformation_mm: float) -> None:
    check_invariants(generate(seed, PhantomOptions(shape, deformation_mm=deformation_mm)), shape)


def test_same_seed_same_bytes_other_seed_other_patient() -> None:
    first, again, other = generate(5, SMALL), generate(5, SMALL), generate(6, SMALL)
    assert first.hu.tobytes() == again.hu.tobytes()
    assert first.spacing == again.spacing
    assert all((first.masks[key] == again.masks[key]).all() for key in first.masks)
    assert first.hu.tobytes() != other.hu.tobytes()
    assert first.spacing != other.spacing


def test_noise_is_a_stage_of_its_own() -> None:
    quiet = generate(5, PhantomOptions(shape=(12, 48, 48), noise_hu=0.0))
    noisy = generate(5, SMALL)
    assert all((quiet.masks[key] == noisy.masks[key]).all() for key in quiet.masks)
    assert (quiet.hu != noisy.hu).any()


def test_some_patients_lack_an_organ_for_good() -> None:
    absences = [generate(seed, PhantomOptions(shape=(8, 32, 32))).absent for seed in range(60)]
    count = {organ.key: sum(organ.key in absent for absent in absences) for organ in ORGANS}
    assert 5 <= count["gallbladder"] <= 22
    assert 18 <= count["liver_tumor"] <= 42
    assert 1 <= count["spleen"] + count["kidney_right"] + count["kidney_left"] <= 15
    assert all(count[key] == 0 for key in ("liver", "stomach", "pancreas", "aorta"))


def test_spacing_follows_the_scanner() -> None:
    for seed in range(20):
        z, y, x = generate(seed, SMALL).spacing
        assert 360 <= 48 * x <= 420
        assert y == x
        assert 200 <= 12 * z <= 310


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"shape: got \(4, 128, 128\).*ask for a larger"):
        PhantomOptions(shape=(4, 128, 128))
    with pytest.raises(ValueError, match=r"noise_hu: got -1.*choose"):
        PhantomOptions(noise_hu=-1.0)
    with pytest.raises(ValueError, match=r"seed: got -1.*choose"):
        generate(-1)


def test_an_invalid_case_cannot_be_made() -> None:
    case = generate(3, SMALL)
    with pytest.raises(ValueError, match=r"need exactly .*give an absent organ"):
        PhantomCase(case.hu, {"liver": case.masks["liver"]}, case.spacing, case.absent)
    with pytest.raises(ValueError, match=r"name exactly the organs"):
        PhantomCase(case.hu, case.masks, case.spacing, case.absent | {"liver"})
    doubled = case.masks | {"pancreas": case.masks["liver"]}
    with pytest.raises(ValueError, match=r"two exclusive organs"):
        PhantomCase(case.hu, doubled, case.spacing, case.absent)
    strayed = case.masks | {"liver_tumor": case.masks["aorta"]}
    with pytest.raises(ValueError, match=r"liver_tumor leaves liver"):
        PhantomCase(case.hu, strayed, case.spacing, case.absent - {"liver_tumor"})


def test_needs_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys, smiler.phantom, smiler.phantom.measure;"
        "print([m for m in ('torch', 'nibabel', 'matplotlib', 'monai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
