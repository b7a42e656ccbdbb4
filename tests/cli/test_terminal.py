"""Text from outside is shown as text: no escape sequence, markup, link or line of its own reaches the terminal."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from smiler.cli.console import PlainConsole, columns, json_text, plain
from smiler.domain.cohort import Cohort

Smiler = Callable[..., Any]
EVIL = {
    "title of the window": "\x1b]0;evil\x07",
    "colours": "\x1b[31m",
    "C1 controls": "\x9b31m\x9d0;evil\x9c",
    "bidi marks": "\u202egnp.exe\u2066\u200f",
    "invisible": "a\u200b\u00adb\ufeff",
    "a line of its own": "name\n\rerror: all is lost",
    "a lost byte": "\udcff",
    "backspaces": "ok\x08\x08\x7f",
}
MARKUP = "[red]r[/red] [link=https://evil.example]l[/link] [bold]b :smile: [/] [nonsense"
ESCAPED = {"\x1b]0;evil\x07": "\\x1b]0;evil\\x07", "\udcff": "\\udcff", "ok\x08\x08\x7f": "ok\\x08\\x08\\x7f"}


def steers(text: str, lines: bool = True) -> list[str]:
    """Characters that a terminal would obey."""
    return [c for c in text if not c.isprintable() and not (lines and c == "\n")]


def drawn(*things: Any, **more: Any) -> str:
    """What a terminal of 200 columns without colours gets."""
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=200, force_terminal=True, color_system=None, highlight=False)
    console.print(*things, **more)
    return stream.getvalue()


def table(text: str) -> Table:
    made = Table(text, title=text, caption=text)
    made.add_row(text)
    made.add_row(Text(text))
    return made


WAYS: dict[str, Callable[[str], Any]] = {
    "text": lambda text: text,
    "styled": lambda text: Text(text, style="bold"),
    "assembled": lambda text: Text.assemble(("where", "bold"), text),
    "table": table,
    "panel": lambda text: Panel(text, title=text),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EVIL)
def test_nothing_that_is_drawn_steers_the_terminal(way: str, name: str) -> None:
    text = drawn(WAYS[way](EVIL[name]))
    assert steers(text) == []
    assert "evil" not in EVIL[name] or "evil" in text  # shown, not swallowed


@pytest.mark.parametrize("way", WAYS)
def test_markup_is_text(way: str) -> None:
    text = drawn(WAYS[way](MARKUP))
    assert "[red]r[/red] [link=https://evil.example]l[/link]" in text
    assert ":smile:" in text
    assert "\x1b" not in text


def test_a_line_break_in_a_name_is_no_line() -> None:
    assert drawn("case name\nerror: x: 1 ml") == "case name\\nerror: x: 1 ml\n"
    assert plain("a\nb") == "a\\nb"
    assert plain("a\nb", lines=True) == "a\nb"


@pytest.mark.parametrize(("text", "shown"), ESCAPED.items())
def test_what_is_escaped_can_still_be_read(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_words_of_every_script_stay() -> None:
    for text in ("Ösophagus", "肝臓 01", "Печень", "肝\u3000臓", "5\u00a0ml", "[a] b"):
        assert plain(text) == text


@pytest.mark.parametrize("name", EVIL)
def test_titles_of_bars(name: str) -> None:
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=200, force_terminal=True, color_system=None)
    with Progress(*columns(), console=console, disable=False) as bars:
        bars.add_task(EVIL[name] + MARKUP, total=2)
    text = stream.getvalue()
    assert "[link=https://evil.example]" in text
    assert EVIL[name] not in text
    assert not set(text) & set("\x07\x9b\x9d\u202e\u200b\udcff\x08")


@pytest.mark.parametrize("name", EVIL)
def test_json_is_the_same_data_and_steers_nothing(name: str) -> None:
    value = {EVIL[name]: [EVIL[name], {"\U000e0001": MARKUP}]}
    for indent in (None, 1):
        text = json_text(value, indent)
        assert json.loads(text) == value
        assert steers(text) == []


# --- through the commands


@pytest.fixture
def evil_cohort(world: Any, tmp_path: Path) -> Path:
    """A cohort whose organ's title and one file's name hold what a terminal obeys."""
    folder = Path(shutil.copytree(world.phantom, tmp_path / "c[red]"))
    manifest = (folder / "cohort.toml").read_text()
    title = json.dumps("".join(text for text in EVIL.values() if text.isascii()) + MARKUP)
    assert 'title = "Liver"' in manifest
    (folder / "cohort.toml").write_text(manifest.replace('title = "Liver"', f"title = {title}"))
    return folder


def harmless(result: Any, code: int) -> str:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert steers(result.out) == []
    assert steers(result.err) == []
    return str(result.out + result.err)


def test_an_audit_of_evil_titles(smiler: Smiler, evil_cohort: Path) -> None:
    assert "\\x1b]0;evil\\x07" in harmless(smiler("audit", evil_cohort), 0)
    told = smiler("audit", evil_cohort, "--json")
    assert "\x1b]0;evil\x07" in json.loads(told.out)["titles"]["liver"]
    harmless(told, 0)


def texts(value: Any) -> list[str]:
    """Every text within JSON."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    return [text for part in value for text in texts(part)] if isinstance(value, list) else [str(value)]


def test_evil_names_of_images_and_folders(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    image = Cohort.open(world.phantom).image_path(Cohort.open(world.phantom).cases[0])
    name = "".join(EVIL[key] for key in ("title of the window", "C1 controls", "bidi marks", "a line of its own"))
    target = tmp_path / f"{name}[red]x.nii.gz"
    shutil.copy(image, target)
    out = tmp_path / "out[link=x]"
    result = smiler("predict", world.run, target, "--out", out)
    text = harmless(result, result.code)
    if result.code == 0:
        assert "\\x1b]0;evil\\x07" in text
        assert "[red]x: liver" in text
        told = smiler("predict", world.run, target, "--out", out, "--json")
        assert any(f"{name}[red]x" in text for text in texts(json.loads(told.out)))
        harmless(told, 0)


def test_evil_paths_in_errors_of_files_and_of_words(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    evil = "".join(EVIL.values()) + MARKUP
    for words in (
        ["audit", tmp_path / evil],
        ["report", tmp_path / evil],
        ["audit", world.phantom, evil],
        [evil],
        ["audit", world.phantom, f"--{evil}"],
    ):
        text = harmless(smiler(*words), 2)
        assert "[link=https://evil.example]" in "".join(text.split()) or "evil" in text
    harmless(smiler("phantom", tmp_path / "p", "--cases", evil), 2)  # the value is no text, and is not repeated


def test_evil_words_in_headers_of_files(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    """What an import tells of a source: names of labels and channels out of its own files."""
    evil, case = "\x1b]0;evil\x07[red]", Cohort.open(world.phantom).cases[0]
    for path in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (tmp_path / "src" / path).parent.mkdir(parents=True)
    shutil.copy(world.phantom / case.image, tmp_path / "src/imagesTr/a_0000.nii.gz")
    drawn = nib.load(world.phantom / f"labels/{case.id}.nii.gz")
    first = nib.Nifti1Image((np.asarray(drawn.dataobj) == 1).astype(np.uint8), drawn.affine)
    nib.save(first, tmp_path / "src/labelsTr/a.nii.gz")
    for label, code, shown in ((evil, 2, "organ {}: not a usable organ key"), ("liver", 0, "channel is called {}:")):
        labels = {"background": 0, label: 1}
        told = {"channel_names": {"0": evil}, "labels": labels, "file_ending": ".nii.gz"}
        (tmp_path / "src/dataset.json").write_text(json.dumps(told))
        text = harmless(smiler("import", tmp_path / "src", tmp_path / "cohort"), code)
        assert shown.format("'\\x1b]0;evil\\x07[red]'") in " ".join(text.split())


def test_headings_of_two_lines_are_two_lines(smiler: Callable[..., Any], world: Any, tmp_path: Path) -> None:
    """Line breaks of our own are drawn, not spelled out; those of names are (above)."""
    shown = smiler("audit", world.phantom).out + smiler("evaluate", world.run, world.truth, "--out", tmp_path).out
    assert "wrong negatives" in shown
    assert "right where" in shown
    assert r"\n" not in shown
