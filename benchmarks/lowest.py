"""The lowest version of each dependency that pyproject.toml allows, as constraints for pip: `make check-lowest`.

torch, and monai, which asks for certain versions of it, have those of constraints.txt: a machine has one torch.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXTRAS = ("onnx", "tracking", "ray", "cloud", "swin", "review")
PINNED = ("torch", "monai")
INDIRECT = ("aiobotocore==2.26.0", "boto3==1.41.5")
"""The newest that the lowest s3fs takes, and what fits it: left to itself, pip tries a hundred versions of boto3."""
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<lowest>[0-9.]+)(?:,<[0-9.]+)?")


def lowest(project: Mapping[str, Any], pins: str) -> Iterator[str]:
    """`name==version` for each dependency of a [project] table and of its extras; `pins`: lines of constraints.txt.

    ValueError for one without a lower bound.
    """
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]:
        found = REQUIREMENT.fullmatch(requirement)
        if not found:
            raise ValueError(f"no lower bound: {requirement}")
        if found["name"] not in PINNED:
            yield f"{found['name']}=={found['lowest']}"
    yield from (line for line in pins.splitlines() if line.partition("==")[0] in PINNED)
    yield from INDIRECT


if __name__ == "__main__":
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    sys.stdout.writelines(f"{line}\n" for line in lowest(table, pinned))
