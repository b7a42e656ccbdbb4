"""Where an artefact came from: every one on disk carries this."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from smiler.domain.files import write_json
from smiler.domain.shaped import read_as


def tool_version() -> str:
    """Version of this program."""
    try:
        return version("smiler-seg")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True)
class Provenance:
    """What made an artefact: the verb, its inputs by content hash, and the facts that decided the result."""

    made_by: str
    parents: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    tool: str = field(default_factory=lambda: f"smiler {tool_version()}")
    python: str = field(default_factory=platform.python_version)

    @classmethod
    def read(cls, path: Path) -> "Provenance | None":
        """What `save` wrote, None where nothing lies; BadInput for anything else."""
        return read_as(path, cls) if path.exists() else None

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, asdict(self))


def beside(path: str) -> str:
    """The JSON file that may lie beside a mask and say what made it."""
    return path.removesuffix(".gz").removesuffix(".nii").removesuffix(".dcm") + ".json"
