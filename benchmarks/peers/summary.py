"""From measurements to what is told: the best of each peer's ways, ratios, agreement of the masks, a table."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import predicted

PEERS = ("monai", "nnunet")
NOT_COUNTED = ("monai predict disk", "nnunet train 2 plain", "smiler predict compile")
"""Told, but less work than the others do: a volume preprocessed beforehand, slices that are not augmented, a compiler
that has run before."""
COMPILED = "smiler predict compile"
KINDS = {"train": "images_per_s", "predict": "seconds", "coarse": "seconds"}
Outcome = dict[str, Any]


def best(tasks: dict[str, Outcome], peer: str, kind: str) -> Outcome | None:
    """The fastest of a peer's ways to do it, with its name; None where none of them runs."""
    number = KINDS[kind]
    ways = [
        found | {"way": name}
        for name, found in tasks.items()
        if name.startswith(f"{peer} {kind}") and number in found and name not in NOT_COUNTED
    ]
    if not ways:
        return None
    return (max if kind == "train" else min)(ways, key=lambda way: way[number])


def ratios(rounds: list[dict[str, Outcome]], tasks: dict[str, Outcome]) -> dict[str, float | str | list[float]]:
    """How many times faster smiler is than the best way of each peer, and as a share of the bare network's speed.

    Each is the median of the rounds' own ratios, with their range as `..._range` where there is more than one.
    `tasks`: the medians of the rounds.
    """
    told: dict[str, float | str | list[float]] = {}

    def compare(name: str, kind: str, ours: str, theirs: str) -> None:
        number = KINDS[kind]
        pairs = [(one[ours][number], one[theirs][number]) for one in rounds]
        each = sorted(a / b if kind == "train" else b / a for a, b in pairs)
        told[name] = round(statistics.median(each), 3)
        if len(each) > 1:
            told[f"{name}_range"] = [round(each[0], 3), round(each[-1], 3)]

    for kind in KINDS:
        ours, floor = best(tasks, "smiler", kind), best(tasks, "floor", kind)
        if ours is None:
            continue
        for peer in PEERS:
            if theirs := best(tasks, peer, kind):
                compare(f"{kind}_vs_{peer}", kind, ours["way"], theirs["way"])
                told[f"{kind}_{peer}_best"] = theirs["way"]
                told[f"{kind}_{peer}_peak_mb"] = theirs["peak_mb"]
                if kind == "predict" and "seconds" in tasks.get(COMPILED, {}):
                    compare(f"predict_compiled_vs_{peer}", kind, COMPILED, theirs["way"])
        if floor:
            compare(f"{kind}_share_of_bare_network", kind, ours["way"], floor["way"])
        told[f"{kind}_smiler_peak_mb"] = ours["peak_mb"]
    return told


def agreements(work: Path, network: str) -> dict[str, dict[str, float | int]]:
    """Share of voxels with the same label as smiler's, among the `voxels` to which either gives an organ."""
    import nibabel as nib
    import numpy as np

    def labels(peer: str, kind: str) -> Any:
        path = predicted(work, peer, network, kind) / "volume.nii.gz"
        return np.asarray(nib.load(path).dataobj) if path.exists() else None

    found = {}
    for kind, others in {"predict": (*PEERS, "smiler-compile"), "coarse": PEERS}.items():
        ours = labels("smiler", kind)
        for peer in others:
            theirs = labels(peer, kind)
            if ours is not None and theirs is not None:
                some = (ours > 0) | (theirs > 0)
                same = {"same": round(float((ours == theirs)[some].mean()), 4)} if some.any() else {}
                found[peer if kind == "predict" else f"{peer} {kind}"] = {"voxels": int(some.sum())} | same
    return found


def table(seen: dict[str, dict[str, Outcome]], told: dict[str, dict[str, Any]]) -> str:
    """All measurements and the ratios, a line each."""
    lines = [f"{'network':10} {'what':28} {'images/s':>9} {'seconds':>8} {'process s':>9} {'peak MB':>8}"]
    for network, tasks in seen.items():
        for task, found in tasks.items():
            if "error" in found:
                lines.append(f"{network:10} {task:28} {found['error']}")
                continue
            rate, spent = (f"{found[key]:.2f}" if key in found else "" for key in ("images_per_s", "seconds"))
            whole, peak = f"{found['process_s']:.1f}", f"{found['peak_mb']:.0f}"
            lines.append(f"{network:10} {task:28} {rate:>9} {spent:>8} {whole:>9} {peak:>8}")
    for network, row in told.items():
        ends = [
            f"{key} {value}" for key, value in row.items() if ("_vs_" in key or "share" in key) and "_range" not in key
        ]
        lines.append(f"{network}: {', '.join(ends)}")
    return "\n".join(lines)
