"""The documents can't drift: their commands exist with their options, and the README's Python runs."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
import typer.main
from shared_phantoms import Phantoms

from smiler.cli.app import app
from smiler.export.export import EXPORTS
from smiler.formats import FORMATS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TINY = (
    'changes=["training.steps=3", "curriculum.rounds=1", "network.width=8", "sampling.patch_size=32", '
    '"sampling.batch_size=2", "data.spacing_xy_mm=native"]'
)


def commands(page: Path) -> list[list[str]]:
    """Every indented or fenced line of a page that calls smiler, without its comment."""
    lines = re.findall(r"^\s+(smiler [^#\n]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line.strip()) for line in lines if not line.startswith("smiler/")]


def test_the_pages_show_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_and_options_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    for words in commands(page):
        known = group.commands[words[1]]  # type: ignore[attr-defined]
        options = {name for parameter in known.params for name in parameter.opts}
        for word in words[2:]:
            assert not word.startswith("-") or word in options, f"{page.name}: {' '.join(words)}: {word}"


def test_every_command_is_documented() -> None:
    group = typer.main.get_command(app)
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in group.commands if f"smiler {name}" not in text]  # type: ignore[attr-defined]
    assert not missing


def test_every_format_is_documented() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in (*FORMATS, *EXPORTS) if f"`{name}`" not in text] == []


def test_every_fault_names_tests_that_exist() -> None:
    rows = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
    named = [re.findall(r"`(test_\w+)`", row) for row in rows if row.startswith("| ") and "---" not in row][1:]
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for names in named for name in names if f"def {name}(" not in code]
    assert all(named)
    assert not missing


def test_the_readmes_python_runs(phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block
    code = block[1].replace('changes=["training.steps=3000"]', TINY)
    assert code != block[1]
    phantoms(tmp_path / "my-cohort", 3)
    shutil.copy(tmp_path / "my-cohort" / "images" / "phantom000.nii.gz", tmp_path / "ct.nii.gz")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["scores"]) > 0  # type: ignore[arg-type]
    assert (tmp_path / "masks" / "ct" / "liver.nii.gz").exists()
    assert (tmp_path / "completed" / "cases.csv").exists()
