"""The audit in a terminal of 100 columns: what stands there, in words and marks."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from audit_cohorts import ORGANS, add_case, cohort_of
from rich.console import Console

from smiler.audit.audit import Audit, audit_cohort
from smiler.cli.audit_view import human, percent, plain, show
from smiler.domain.cohort import Case, Cohort
from smiler.domain.organs import Organ, OrganSet

CELLS = {"liver": "MAP#1+2", "spleen": "MAP#3@0:4", "pancreas": "absent"}


def shown(audit: Audit, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    show(audit, Console(file=stream, width=100, force_terminal=False, color_system=None))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    second = add_case(tmp_path, "p002", {"tumour": "auto:MAP#2"})
    return cohort_of(tmp_path, [add_case(tmp_path, "p001", CELLS), second])


def many(cohort: Cohort, count: int) -> Cohort:
    first = cohort.cases[0]
    return cohort_of(cohort.folder, [Case(f"patient-{n:04d}", "p", first.image, first.cells) for n in range(count)])


def row(text: str, title: str, nth: int = 0) -> list[str]:
    return [line.split() for line in text.splitlines() if line.startswith(title)][nth]


def test_a_small_cohort_is_a_matrix_with_case_ids(cohort: Cohort) -> None:
    text = shown(audit_cohort(cohort))
    assert row(text, "organ") == ["organ", "p001", "p002", "missing"]
    assert row(text, "Liver") == ["Liver", "■", "·", "50", "%"]
    assert row(text, "Spleen") == ["Spleen", "◧", "·", "50", "%"]
    assert row(text, "pancreas") == ["pancreas", "○", "·", "50", "%"]
    assert row(text, "Tumour") == ["Tumour", "·", "~", "100", "%"]
    assert "■ annotated   ◧ partial   ○ absent   ~ auto   · unannotated" in text


def test_up_to_forty_cases_are_numbered(cohort: Cohort) -> None:
    text = shown(audit_cohort(many(cohort, 40)))
    assert row(text, "Liver") == ["Liver", "■" * 40, "0", "%"]
    assert row(text, "organ")[1] == "1234567890" * 4


def test_more_cases_are_counted(cohort: Cohort) -> None:
    text = shown(audit_cohort(many(cohort, 41)))
    assert "Coverage of 41 cases" in text
    assert row(text, "Liver") == ["Liver", "41", "-", "-", "-", "-", "0", "%"]
    assert row(text, "Spleen") == ["Spleen", "-", "41", "-", "-", "-", "0", "%"]


def test_what_the_loss_will_see_is_shown_per_organ(cohort: Cohort) -> None:
    audit = audit_cohort(cohort)
    text = shown(audit)
    liver = audit.case_audits[0].counts["liver"].drawn
    last = row(text, "Liver", nth=1)
    assert last[1] == str(liver)
    assert last[-1] == str(audit.expected_false_negatives("liver")) == str(liver)
    assert "proposed: by a model (auto:)" in " ".join(text.split())


def test_proposals_are_spoken_of_only_where_there_are_any(cohort: Cohort) -> None:
    assert "proposed" not in shown(audit_cohort(cohort.only(["p001"])))


def test_faults_come_last_and_whole(cohort: Cohort, tmp_path: Path) -> None:
    broken = [replace(case, image=f"{case.id}-gone.nii.gz") for case in cohort]
    text = shown(audit_cohort(replace(cohort, cases=tuple(broken))))
    assert "2 faults" in text
    assert text.index("notes") < text.index("2 faults")
    assert "- case p002, image, file p002-gone.nii.gz: the file does not exist" in text
    assert "No fault found." not in text


def test_a_cohort_in_order_says_so(cohort: Cohort) -> None:
    assert shown(audit_cohort(cohort)).rstrip().endswith("No fault found.")


def test_many_notes_are_cut_and_counted(cohort: Cohort) -> None:
    audit = replace(audit_cohort(cohort), notes=tuple(f"note {n}" for n in range(35)))
    text = shown(audit)
    assert "35 notes" in text
    assert "note 29" in text
    assert "note 30" not in text
    assert "and 5 more: --json lists them all" in text


def test_nothing_is_wider_than_the_terminal(cohort: Cohort) -> None:
    long = OrganSet(
        tuple(replace(organ, title=f"{organ.key} with a title far too long for any table") for organ in ORGANS)
    )
    audit = audit_cohort(replace(many(cohort, 40), organs=long))
    assert max(map(len, shown(audit).splitlines())) <= 100


def test_an_old_terminal_gets_letters(cohort: Cohort) -> None:
    text = shown(audit_cohort(cohort), encoding="ascii")
    assert row(text, "Liver") == ["Liver", "#", ".", "50", "%"]
    assert "# annotated" in text


def test_text_from_files_can_neither_style_nor_steer_the_terminal(tmp_path: Path) -> None:
    organs = OrganSet((Organ("liver", "[red]Liver[/red]\x1b[31m\u202e"),))
    text = shown(audit_cohort(cohort_of(tmp_path, [add_case(tmp_path, "c1", {"liver": "MAP#1"})], organs)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]Liver[/red]\\x1b" in text


def test_an_empty_cohort_shows_its_fault(cohort: Cohort) -> None:
    text = shown(audit_cohort(replace(cohort, cases=())))
    assert "1 fault" in text
    assert "the cohort has no case" in " ".join(text.split())


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0"), (999, "999"), (1000, "1.0 k"), (9949, "9.9 k"), (12_345, "12 k")),
        *((999_499, "999 k"), (999_500, "1.0 M"), (3_210_000_000, "3.2 G")),
    ],
)
def test_counts_are_short(count: int, text: str) -> None:
    assert human(count) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        *((0, 10, "0 %"), (1, 10**6, "<0.01 %"), (5, 1000, "0.50 %"), (123, 1000, "12.3 %")),
        *((10**6 - 1, 10**6, ">99.9 %"), (10, 10, "100 %"), (0, 0, "0 %")),
    ],
)
def test_a_share_is_never_rounded_to_nothing_nor_to_all(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_plain_text_stays_as_it_is() -> None:
    assert plain("Ösophagus, labels/ü.nii.gz") == "Ösophagus, labels/ü.nii.gz"
