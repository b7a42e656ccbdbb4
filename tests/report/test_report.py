"""The page: sections by input, everything escaped, nothing from outside, the same page for the same inputs."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_folder import EVIL, make_folder, write_events, write_scores

from smiler.domain.errors import BadInput
from smiler.domain.files import write_text
from smiler.evaluation.score_table import scores_table
from smiler.evaluation.scores import Learned, Score
from smiler.report.report import write_report

SECTIONS = {
    "summary.json": {"result", "relabelling"},
    "audit.json": {"coverage"},
    "scores.csv": {"scores"},
    "overlays.npz": {"overlays"},
    "runs": {"training"},
}
VOID = {"meta", "image", "use", "path", "br", "img", "link"}


class Page(HTMLParser):
    """Tags with their attributes, texts, and whether every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def sections(self) -> set[str]:
        return {attrs["id"] or "" for tag, attrs in self.tags if tag == "section"}

    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_a_full_folder_gives_every_section_and_the_page_is_well_formed(page: str) -> None:
    parsed = Page(page)
    assert parsed.sections() == set().union(*SECTIONS.values()) | {"sources"}
    assert parsed.open == []


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_appears_exactly_where_its_input_is(name: str, folder: Path, tmp_path: Path) -> None:
    source = folder / name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    assert Page(write_report(tmp_path).read_text()).sections() == SECTIONS[name]


def test_what_a_training_held_out_has_a_table_of_its_own(tmp_path: Path) -> None:
    """As a run with `hold_out` and a training in folds leave it; beside scores that `evaluate` wrote."""
    (tmp_path / "validation").mkdir()
    rng = np.random.default_rng(0)
    write_scores(tmp_path / "validation" / "scores.csv", rng, 3, arms=False)
    write_events(tmp_path / "fold_0" / "events.jsonl", rng)
    alone = Page(write_report(tmp_path).read_text())
    assert alone.sections() == {"scores", "training"}
    assert "Scores on annotations that the network was not trained on, held out by the training itself" in alone.words()
    write_scores(tmp_path / "scores.csv", rng, 3, arms=False, learned=("no", "yes"))
    text = write_report(tmp_path).read_text()
    assert Page(text).sections() == {"scores", "scores-yes", "scores-held-no", "training"}
    test_links_in_the_page_lead_to_its_own_sections(text)


def test_links_in_the_page_lead_to_its_own_sections(page: str) -> None:
    parsed = Page(page)
    ids = [attrs["id"] for _, attrs in parsed.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attrs in parsed.tags:
        if tag in ("a", "use"):
            assert (attrs["href"] or "").removeprefix("#") in ids


def test_nothing_comes_from_outside_and_nothing_runs(page: str) -> None:
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    for tag, attrs in Page(page).tags:
        assert tag not in ("script", "iframe", "link", "object", "embed", "form", "base")
        assert "src" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        assert (attrs.get("href") or "#").startswith(("#", "data:image/png;base64,"))
        assert "url(" not in (attrs.get("style") or "")


def test_the_policy_forbids_scripts_and_connections(page: str) -> None:
    metas = [attrs for tag, attrs in Page(page).tags if tag == "meta"]
    policy = next(meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_names_are_shown_as_they_are_and_never_as_markup(page: str) -> None:
    parsed = Page(page)
    assert "<script" not in page
    assert "<b>" not in page.replace('<td class="n"><b>', "")
    assert EVIL in parsed.words()
    assert parsed.words().startswith("everything <b> – smiler report")
    chart_texts = [text for text in parsed.texts if text.startswith("<script>alert") and text.endswith("…")]
    assert chart_texts
    assert any("case-001" in text for text in parsed.texts)


def test_pictures_are_png_in_base64(page: str) -> None:
    pictures = [attrs["href"] or "" for tag, attrs in Page(page).tags if tag == "image"]
    assert len(pictures) == 3
    for picture in pictures:
        assert base64.b64decode(picture.split(",")[1], validate=True).startswith(b"\x89PNG")


def test_the_file_is_small_enough_to_mail(page: str) -> None:
    assert len(page.encode()) < 2_000_000


def test_the_same_inputs_give_the_same_page(page: str, folder: Path) -> None:
    assert write_report(folder).read_text() == page


def test_no_stand_in_colour_is_left_in_a_figure(page: str) -> None:
    assert "#0a000" not in page
    assert "var(--smiler)" in page


def numbers_of_the_means(words: str, arm: str) -> str:
    """What the table of means says of an arm's mean over the organs."""
    table = words.split("Organ Arm n Dice")[1]
    found = re.search(rf"{re.escape(arm)} \d+ (\d+\.\d) \d+\.\d to ", table)
    assert found
    return found.group(1)


def test_the_headline_says_the_numbers_of_the_table_in_words(page: str) -> None:
    words = Page(page).words()
    baseline, smile = (numbers_of_the_means(words, arm) for arm in ("Baseline", "SMILE"))
    assert (
        "With 70 % of the organ annotations missing, the usual baseline, which reads a missing organ as background, "
        f"reaches a mean Dice of {baseline} points on 6 held-out patients. SMILE, which leaves out what nobody knows, "
        f"reaches {smile}." in words
    )
    assert "points above the baseline (95 % interval +" in words


def test_a_number_is_rounded_once(tmp_path: Path) -> None:
    # 78.25 and 78.249999: whoever rounds to two digits first says 78.3 of the second, too (or 78.2 of the first)
    for name, mean in (("a", 0.78250001), ("b", 0.78249999)):
        folder = tmp_path / name
        scores = [
            Score(f"c{k}", f"c{k}", "liver", "annotated", {"dice": d, "nsd": d, "hd95_mm": 1.0}, 1.0, 1.0, Learned.NO)
            for k, d in enumerate((mean - 0.1, mean + 0.1))
        ]
        write_text(folder / "scores.csv", scores_table([({"arm": "smile"}, scores)]))
        (folder / "summary.json").write_text(json.dumps({"dice": {"smile": round(100 * mean, 2)}}))
        words = Page(write_report(folder).read_text()).words()
        expected = {"a": "78.3", "b": "78.2"}[name]
        assert f"reaches a mean Dice of {expected} points." in words
        assert numbers_of_the_means(words, "SMILE") == expected
        assert f"SMILE {expected} what nobody knows" in words  # the bar


def test_every_row_has_a_cell_for_each_head(page: str) -> None:
    tables = re.findall(r"<table>\n<thead>(.*?)</thead>\n<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert len(tables) == 4
    for head, body in tables:
        cells = {row.count("<td") + row.count("<th") for row in body.split("<tr")[1:]}
        assert cells == {head.count("<th")}


TITLES = {
    "no": "Scores on annotations that the network was not trained on",
    "unknown": "Scores on annotations of which it is not recorded whether the network was trained on them",
    "yes": "Scores on annotations that the network was trained on",
}


@pytest.mark.parametrize("learned", [("no",), ("yes",), (), ("yes", "no"), ("unknown", "yes", "no")])
def test_the_page_says_whether_the_network_was_trained_on_what_is_scored(
    learned: tuple[str, ...], tmp_path: Path
) -> None:
    write_scores(tmp_path / "scores.csv", np.random.default_rng(0), 6, arms=False, learned=learned)
    words = Page(write_report(tmp_path).read_text()).words()
    kinds = learned or ("unknown",)
    assert {kind for kind, title in TITLES.items() if title in words} == set(kinds)
    assert words.count("Organ n Dice 95 % interval") == len(kinds)
    assert ("they say nothing about other patients" in words) == ("yes" in learned)
    assert "held-out" not in words
    assert f"Mean of the organs {6 // len(kinds)} " in words


def test_a_headline_of_training_scores_does_not_speak_of_held_out_patients(tmp_path: Path) -> None:
    make_folder(tmp_path, patients=4, cases=1)
    write_scores(tmp_path / "scores.csv", np.random.default_rng(0), 4, learned=("yes",))
    words = Page(write_report(tmp_path).read_text()).words()
    assert "points on annotations that it was trained on" in words
    assert "held-out patient" not in words


def test_one_patient_has_a_dash_instead_of_an_interval(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", np.random.default_rng(0), 1)
    (tmp_path / "summary.json").write_text('{"dice": {}}')
    words = Page(write_report(tmp_path).read_text()).words()
    assert re.search(r"Mean of the organs Baseline 1 \d+\.\d – ", words)
    assert re.search(r"SMILE − Baseline Mean of the organs 1 \+\d+\.\d – – –", words)
    assert "above the baseline (n = 1 patient, so there is no interval)" in words
    assert "nan" not in words.lower().split()


def test_few_patients_are_called_few(page: str, tmp_path: Path) -> None:
    assert "With fewer than 20 patients" in Page(page).words()
    write_scores(tmp_path / "scores.csv", np.random.default_rng(0), 30, arms=False)
    words = Page(write_report(tmp_path).read_text()).words()
    assert "With fewer than 20 patients" not in words
    assert "Arm" not in words.split()


def test_a_run_of_its_own_needs_no_arm(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", np.random.default_rng(0), 5, arms=False)
    write_events(tmp_path / "events.jsonl", np.random.default_rng(0), rounds=2)
    parsed = Page(write_report(tmp_path).read_text())
    assert parsed.sections() == {"scores", "training"}
    assert "This run" in parsed.texts
    assert {" round 1", " round 2"} <= {text.replace("\N{NO-BREAK SPACE}", " ") for text in parsed.texts}


def test_a_large_cohort_is_drawn_without_case_names_and_stays_small(tmp_path: Path) -> None:
    names = [f"volume-{number}" for number in range(900)]
    audit = {"cases": names, "organs": ["liver", "spleen"], "coverage": [["annotated", "unannotated"]] * 900}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    text = write_report(tmp_path).read_text()
    assert "Experts drew Liver in 900, Spleen in 0 of 900 cases." in Page(text).words()
    assert "volume-7" not in text
    assert len(text) < 200_000


def _without_column(folder: Path) -> None:
    lines = (folder / "scores.csv").read_text().splitlines()
    (folder / "scores.csv").write_text(lines[0].replace(",nsd", "") + "\n")


def _change(name: str, **changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(value | changes))

    return apply


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def _stack(**changes: np.ndarray) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with np.load(folder / "overlays.npz") as file:
            arrays = dict(file)
        np.savez(folder / "overlays.npz", **(arrays | changes))

    return apply


FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "audit is not JSON": (_write("audit.json", b"{"), "audit.json", "not readable JSON"),
    "audit is a list": (_write("audit.json", b"[]"), "audit.json", "valid dictionary"),
    "unknown status": (_change("audit.json", coverage=[["perhaps"]]), "audit.json, coverage.0.0", "perhaps"),
    "coverage too small": (_change("audit.json", coverage=[]), "audit.json", "30 rows (cases) of 4 statuses"),
    "Dice as a share of 1000": (_change("summary.json", dice={"smile": 612}), "summary.json", "points from 0 to 100"),
    "alpha in per cent": (_change("summary.json", alpha=70), "summary.json, alpha", "less than or equal to 1"),
    "missing column": (_without_column, "scores.csv", "do: add nsd"),
    "scores are not text": (_write("scores.csv", b"\xff\xfe\x00"), "scores.csv", "not a readable table"),
    "Dice is a word": (
        _write(
            "scores.csv",
            b"case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml\na,a,liver,annotated,x,1,1,1,1\n",
        ),
        "scores.csv, line 2",
        "not a number",
    ),
    "Dice above 1": (
        _write(
            "scores.csv",
            b"case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml\na,a,liver,annotated,61,1,1,1,1\n",
        ),
        "scores.csv, line 2",
        "lie in [0, 1]",
    ),
    "trained on, or not": (
        _write(
            "scores.csv",
            b"case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml,learned\n"
            b"a,a,liver,annotated,1,1,1,1,1,perhaps\n",
        ),
        "scores.csv, line 2",
        "neither yes, no nor unknown",
    ),
    "short row": (
        _write(
            "scores.csv",
            b"case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml\na,a,liver,annotated,1\n",
        ),
        "scores.csv, line 2",
        "not a number",
    ),
    "event without a loss": (
        _write("runs/smile/events.jsonl", b'{"event": "step", "stage": 0, "step": 1}\n{}\n'),
        "events.jsonl",
        "not an event",
    ),
    "event is a number": (_write("runs/smile/events.jsonl", b"3\n4\n"), "events.jsonl", "not an event"),
    "overlays are not an archive": (_write("overlays.npz", b"PK"), "overlays.npz", "doesn't hold overlays"),
    "overlays hold objects": (_stack(case=np.array([{}] * 3)), "overlays.npz", "doesn't hold overlays"),
    "overlays don't fit": (_stack(smile=np.zeros((3, 5, 5), np.int32)), "overlays.npz", "don't fit each other"),
    "spacing of 0": (_stack(spacing=np.zeros((3, 2))), "overlays.npz, spacing", "must be positive"),
    "provenance is not JSON": (_write("provenance.json", b"{,}"), "provenance.json", "not readable JSON"),
    "recipe is not text": (_write("recipe.toml", b"\xff"), "recipe.toml", "not readable text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_used_is_named_and_the_old_report_stays(fault: str, folder: Path, tmp_path: Path) -> None:
    spoil, where, what = FAULTS[fault]
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "report.html").write_text("old")
    spoil(broken)
    with pytest.raises(BadInput) as caught:
        write_report(broken)
    assert caught.value.where.endswith(where)
    assert what in str(caught.value)
    assert (broken / "report.html").read_text() == "old"


def test_an_empty_folder_is_told_what_it_could_hold(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing to report.*summary.json, audit.json"):
        write_report(tmp_path)


def test_one_patient_and_missing_arms_are_enough(tmp_path: Path) -> None:
    make_folder(tmp_path, patients=2, cases=1)
    (tmp_path / "summary.json").write_text('{"dice": {"mine<i>": 12.0}}')
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if line.startswith(("smile,", "full,"))][:1]
    (tmp_path / "scores.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    words = Page(write_report(tmp_path).read_text()).words()
    assert "Mine<i> reaches a mean Dice of 12.0 points." in words
