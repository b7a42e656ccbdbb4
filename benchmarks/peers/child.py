"""One measurement in a process of its own, so that its peak memory is its own.

python -m benchmarks.peers.child 'smiler predict' unet WORK     # the outcome as JSON on the last line
"""

import importlib
import json
import sys
from pathlib import Path

TASKS = {  # peer, what it does, and how: further words are the function's own arguments; what is compared is neighbours
    "floor train": "floor:train",
    "smiler train": "ours:train",
    "monai train memory 0": "monai_peer:train",
    "monai train memory 2": "monai_peer:train",
    "monai train disk 0": "monai_peer:train",
    "monai train disk 2": "monai_peer:train",
    "nnunet train 0": "nnunet_peer:train",
    "nnunet train 2": "nnunet_peer:train",
    "nnunet train 2 plain": "nnunet_peer:train",
    "floor predict": "floor:predict",
    "smiler predict": "ours:predict",
    "monai predict": "monai_peer:predict",
    "monai predict disk": "monai_peer:predict",
    "nnunet predict sequential": "nnunet_peer:predict",
    "nnunet predict parallel": "nnunet_peer:predict",
    "smiler predict compile": "ours:predict",
    "floor coarse": "floor:coarse",
    "smiler coarse": "ours:coarse",
    "monai coarse": "monai_peer:coarse",
    "nnunet coarse": "nnunet_peer:coarse",
}


def main(task: str, network: str, work: Path) -> None:
    """Import what the task needs, run it, tell."""
    module, _, function = TASKS[task].partition(":")
    measure = getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)
    found = measure(work, network, *task.split()[2:])
    from benchmarks.peers.measure import peaks

    print(json.dumps(found | peaks()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
