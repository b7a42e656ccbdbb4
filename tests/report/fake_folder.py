"""A folder with every input of a report: random but plausible numbers, and names that try to break out of the page."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

EVIL = "<script>alert('x')</script>&\"$a_b$"
ORGANS = ["liver", "stomach", "pancreas", "wild_organ"]
LEVELS = {
    "baseline": (28, 8, 1, 3),
    "smile": (84, 55, 37, 50),
    "smiler": (86, 58, 41, 49),
    "full": (88, 60, 43, 60),
}
PLACES = {
    "liver": (0.45, 0.33, 0.17),
    "stomach": (0.42, 0.64, 0.11),
    "pancreas": (0.5, 0.52, 0.06),
    "wild_organ": (0.6, 0.7, 0.06),
}


def make_folder(folder: Path, patients: int = 12, seed: int = 0, cases: int = 30, slices: int = 3) -> Path:
    """Write all inputs into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    (folder / "audit.json").write_text(json.dumps(audit(rng, cases)))
    (folder / "summary.json").write_text(json.dumps(summary(patients)))
    write_scores(folder / "scores.csv", rng, patients)
    for arm in LEVELS:
        write_events(folder / "runs" / arm / "events.jsonl", rng, rounds=3 if arm == "smiler" else 0)
    np.savez(folder / "overlays.npz", **overlays(rng, slices))
    (folder / "recipe.toml").write_text(f"# {EVIL}\n[training]\nsteps = 1500\n")
    (folder / "provenance.json").write_text(json.dumps({"made_by": "compare", "facts": {"note": EVIL}}, indent=1))
    return folder


def audit(rng: np.random.Generator, cases: int) -> dict[str, object]:
    statuses = ["annotated", "unannotated", "partial", "absent", "auto"]
    coverage = rng.choice(statuses, p=[0.27, 0.6, 0.05, 0.05, 0.03], size=(cases, len(ORGANS))).tolist()
    share = {"liver": 0.025, "stomach": 0.006, "pancreas": 0.001, "wild_organ": 0.002}
    total = 40_000_000
    voxels = {
        key: {
            "positive": int(0.3 * part * total),
            "negative": int(0.3 * total),
            "excluded": int(0.01 * total),
            "implied": 0,
            "pseudo": 0,
            "unknown": int((0.69 - 0.3 * part) * total),
        }
        for key, part in share.items()
    }
    return {
        "cases": [EVIL, *(f"case-{number:03}" for number in range(1, cases))],
        "organs": ORGANS,
        "titles": {"liver": "Liver", "stomach": "Stomach", "pancreas": "Pancreas", "wild_organ": EVIL},
        "coverage": coverage,
        "alpha": dict.fromkeys(ORGANS, 0.7),
        "voxels": voxels,
        "expected_false_negatives": {key: 0.7 * part * total for key, part in share.items()},
        "false_negatives": {key: (0.62 + 0.2 * rng.random()) * part * total for key, part in share.items()},
        "faults": [f"case-003: the mask of {EVIL} has another grid than its image"],
        "notes": ["2 organs overlap by declaration", EVIL],
    }


def summary(patients: int) -> dict[str, object]:
    relabel = [
        {
            "round": number,
            "organ": organ,
            "gamma": number / 3,
            "precision": start - drop * (number - 1),
            "recall": 0.25 * number,
            "voxels": 9000 * number,
        }
        for number in (1, 2, 3)
        for organ, start, drop in (
            ("liver", 0.98, 0.05),
            ("stomach", 0.91, 0.17),
            ("pancreas", 0.8, 0.18),
            ("wild_organ", 0.93, 0.04),
        )
    ]
    relabel.append({"round": 3, "organ": "spleen", "gamma": 1.0, "precision": None, "recall": 0.0, "voxels": 0})
    return {
        "alpha": 0.7,
        "dice": {arm: float(np.mean(levels)) for arm, levels in LEVELS.items()},
        "relabel": relabel,
        "seconds": 812.4,
        "n_train": 30,
        "n_test": patients,
        "steps": 1500,
        "machine": f"2 CPU cores {EVIL}",
        "versions": {"smiler": "0.1.0", "torch": "2.7.0"},
    }


OLD_COLUMNS = ["case", "patient", "organ", "status", "dice", "nsd", "hd95_mm", "predicted_ml", "reference_ml"]


def write_scores(
    path: Path, rng: np.random.Generator, patients: int, arms: bool = True, learned: Sequence[str] = ("no",)
) -> None:
    """`learned`: what each patient in turn is; none of them: a table that is older than the column."""
    columns = [*OLD_COLUMNS, *(["learned"] if learned else [])]
    ease = rng.normal(0, 6, patients)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arm", *columns] if arms else columns)
        for arm, levels in LEVELS.items() if arms else [("", LEVELS["smile"])]:
            for organ, level in zip(ORGANS, levels, strict=True):
                for number in range(patients):
                    if organ == "wild_organ" and number % 3 == 0:
                        continue
                    dice = float(np.clip(level + ease[number] + rng.normal(0, 5), 0, 97)) / 100
                    values = [
                        f"{value:.5f}" for value in (dice, min(1, dice * 1.08), 60 * (1.05 - dice), 900 * dice, 880)
                    ]
                    case = f"{EVIL}-{number}"
                    values += [learned[number % len(learned)]] if learned else []
                    writer.writerow([*([arm] if arms else []), case, f"p{number}", organ, "annotated", *values])


def write_events(path: Path, rng: np.random.Generator, rounds: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for stage in range(rounds + 1):
        for step in range(10, (1500 if stage == 0 else 500) + 1, 10):
            loss = 0.12 + (0.6 if stage == 0 else 0.05) * np.exp(-step / 300) + rng.normal(0, 0.012)
            lines.append(
                json.dumps(
                    {"time": 1.0, "event": "step", "stage": stage, "step": step, "loss": round(loss, 5), "lr": 0.001}
                )
            )
        lines.append(json.dumps({"time": 1.0, "event": "relabelled", "stage": stage, "round": stage + 1}))
    path.write_text("\n".join(lines) + "\n")


def overlays(rng: np.random.Generator, n: int, size: tuple[int, int] = (96, 128)) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        "hu": np.stack([_slice_hu(rng, size) for _ in range(n)]),
        "spacing": np.tile([3.4, 2.9], (n, 1)),
        "case": np.array([EVIL, *(f"case-{number}" for number in range(1, n))]),
        "z": np.arange(20, 20 + n),
        "truth": _bits(rng, size, n, ORGANS, 1.0),
    }
    for arm, scale in {"smile": 0.93, "smiler": 0.97, "full": 0.99}.items():
        arrays[arm] = _bits(rng, size, n, ORGANS, scale)
    arrays["baseline"] = _bits(rng, size, n, ["liver"], 0.6)
    return arrays


def _ellipse(size: tuple[int, int], place: tuple[float, float, float], scale: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    cy, cx, radius = place
    return ((y / size[0] - cy) / 1.25) ** 2 + (x / size[1] - cx) ** 2 < (radius * scale) ** 2


def _slice_hu(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    hu = np.full(size, -1000.0)
    hu[_ellipse(size, (0.5, 0.5, 0.46), 0.85)] = -90
    hu[_ellipse(size, (0.5, 0.5, 0.42), 0.85)] = 40
    for key, value in zip(ORGANS, (95, 50, 80, 110), strict=True):
        hu[_ellipse(size, PLACES[key])] = value
    hu[_ellipse(size, (0.72, 0.5, 0.05))] = 400
    return (hu + rng.normal(0, 14, size)).astype(np.int16)


def _bits(rng: np.random.Generator, size: tuple[int, int], n: int, organs: list[str], scale: float) -> np.ndarray:
    bits = np.zeros((n, *size), dtype=np.int32)
    for index in range(n):
        for key in organs:
            cy, cx, radius = PLACES[key]
            moved = (cy + rng.normal(0, 0.02) * (scale < 1), cx + rng.normal(0, 0.02) * (scale < 1), radius)
            bits[index] |= _ellipse(size, moved, scale).astype(np.int32) << ORGANS.index(key)
    return bits
