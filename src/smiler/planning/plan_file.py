"""`plan.toml`: the choices as the part of a recipe that a person can edit, each with its reason beside it."""

from collections.abc import Sequence
from pathlib import Path

from smiler.domain.files import write_text
from smiler.planning.rules import Choice

PLAN = "plan.toml"
"""In a cohort's folder: `smiler train` begins with it."""


def write_plan(path: Path, choices: Sequence[Choice], title: str) -> None:
    """Write the choices by their tables, reasons as comments."""
    lines = [f"# {title}", "# Edit what you know better: smiler train reads this file, and --set comes after it."]
    tables = dict.fromkeys(choice.option.rpartition(".")[0] for choice in choices)
    for table in tables:
        lines += ["", f"[{table}]"]
        for choice in choices:
            parent, _, name = choice.option.rpartition(".")
            if parent == table:
                lines.append(f"{name} = {choice.change.partition('=')[2]}  # {' '.join(choice.reason.split())}")
    write_text(path, "\n".join(lines) + "\n")
