"""The page of `make bench-report`: runs beside their targets, and what was not measured said, not hidden."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>"


def outcome(date: str, machine: str, **more: Any) -> dict[str, Any]:
    ratios = {"train_unet": 0.95, "train_deeplab": 0.9, "something_new": 2.5}
    head = {"command": "make bench", "date": date, "machine": machine, "versions": {"torch": "2.13.0"}}
    return head | {"ratios": ratios, "peak_mb": {"predict_512x512x100": 900}} | more


def write(folder: Path, *outcomes: dict[str, Any]) -> Path:
    (folder / "runs").mkdir(parents=True)
    for one in outcomes:
        (folder / "runs" / f"{one['date'].replace(':', '')}.json").write_text(json.dumps(one))
    return folder


def report(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "benchmarks.report", str(folder)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("</style>", 1)[1]))


class Closed(HTMLParser):
    """Every tag that is opened is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [f"{name}={value}" for name, value in attrs if name in {"src", "href"} and value[:1] != "#"]
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    agreed = {"least": 0.99, "dice": {"liver": 0.99}, "voxels": {"liver": 1234}, "found_by_neither": ["aorta"]}
    agreement = {"native": 1.0, "1.5mm": 0.99, "organs": {"native": agreed | {"dice": {"liver": 1.0}}, "1.5mm": agreed}}
    eager = {"seconds_a_slice": {"eager": 0.2}, "over_eager": {"eager": 1.0}, "first_call_s": {"eager": 0.3}}
    engines = {"unet": eager | {"missing": {"onnx": "the engine needs ONNX Runtime"}}}
    first = outcome("2026-01-01", "an old machine")
    second = outcome("2026-01-02T10:30Z", f"x86_64 {EVIL}", agreement=agreement, engines=engines)
    folder = write(tmp_path_factory.mktemp("bench"), first, second)
    done = report(folder)
    assert done.returncode == 0, done.stderr
    return (folder / "report.html").read_text()


def test_the_page_says_what_is_met_and_missed(page: str) -> None:
    text = text_of(page)
    assert "2 runs of make bench" in text
    assert "no. 2 of 2026-01-02 10:30 UTC" in text
    assert "DeepLab: bare step over a training's step: 0.900, wanted at least 0.930" in text.replace("&#39;", "'")
    assert "Least Dice with the reference, 1.5 mm: 0.9900, wanted at least 0.9950" in text
    assert "0.950, met ; wanted at least 0.930" in text
    assert "liver 1.0000 1,234 voxels 0.9900 1,234 voxels" in text
    assert "something_new no target 2.500 2.500" in text


def test_what_was_not_measured_is_said(page: str) -> None:
    text = text_of(page)
    assert "not measured : Relabelling over predicting" in text
    assert "not measured : Least Dice with the reference, 1.5 mm, bf16" in text
    assert "Not measured: there is no peers.json. make bench-peers makes it." in text
    assert "native: neither finds aorta; that says nothing and is not counted." in text
    assert "onnx left out: the engine needs ONNX Runtime" in text


def test_the_page_stands_alone(page: str) -> None:
    parser = Closed()
    parser.feed(page)
    assert parser.open == []
    assert parser.outside == []
    assert EVIL not in page
    assert len(page) < 300_000


@pytest.mark.parametrize(("text", "said"), [("{", "latest"), ('{"ratios": {}}', "no outcome of a benchmark")])
def test_a_broken_outcome_is_named(tmp_path: Path, text: str, said: str) -> None:
    folder = write(tmp_path, outcome("2026-01-01", "m"))
    (folder / "runs" / "latest.json").write_text(text)
    done = report(folder)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kept_run_is_the_latest_too(tmp_path: Path) -> None:
    words = (
        "import json, sys, pathlib, benchmarks.runs as r; r.keep(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    one = outcome("2026-01-02T10:30Z", "x86_64, Some CPU @ 2.50GHz, 2 cores, no GPU")
    subprocess.run([sys.executable, "-c", words, json.dumps(one), str(tmp_path)], cwd=ROOT, check=True)
    kept = tmp_path / "runs" / "2026-01-02-1030-x86-64-some-cpu-2.50ghz-2-cores-no-gpu.json"
    assert json.loads(kept.read_text()) == json.loads((tmp_path / "latest.json").read_text()) == one
