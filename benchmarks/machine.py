"""What every outcome says first: the command that makes it again, when, on which machine, with which versions."""

import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def about(command: str, packages: Sequence[str]) -> dict[str, Any]:
    """The head of an outcome; its date is in UTC, to the minute."""
    return {
        "command": command,
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": machine(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """Architecture, processor, cores and GPU in one line."""
    return f"{platform.machine()}, {processor()}, {os.cpu_count()} cores, {gpu()}"


def processor() -> str:
    """The processor's name: the kernel's, else Python's."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def gpu() -> str:
    """The first GPU's name."""
    import torch  # here: the audit's benchmark does without it until its end

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "no GPU"
