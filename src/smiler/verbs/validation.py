"""What a run held out, scored when its training is done: by a network that has not learned from it."""

from collections.abc import Collection
from dataclasses import replace

from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.locks import writing
from smiler.domain.progress import Progress
from smiler.evaluation.score_table import read_scores, write_scores
from smiler.evaluation.scores import Score
from smiler.evaluation.truth import Truth
from smiler.verbs.ensembles import SCORES
from smiler.verbs.evaluate import evaluate
from smiler.verbs.run import RunFolder, TrainingRecord, training_record


def validate(run: RunFolder, cohort: Cohort, progress: Progress, cases: Collection[str] | None = None) -> list[Score]:
    """Scores of what experts said of these cases (None: of all) and the run held out; also in its `validation/`."""
    record = training_record(run.path)
    wanted = [case for case in cohort if cases is None or case.id in cases]
    held = [case for each in wanted if (case := _held_out(each, record)).cells]
    with writing(run.path):
        device = run.recipe().training.device
        truth = Truth(replace(cohort, cases=tuple(held)))
        scores = evaluate(run.path, truth, device, progress) if held else []
        write_scores(run.path / SCORES, scores)
    return scores


def validated(run: RunFolder) -> list[Score] | None:
    """The scores that `validate` wrote; None before."""
    path = run.path / SCORES
    return [score for _, score in read_scores(path)] if path.exists() else None


def _held_out(case: Case, record: TrainingRecord | None) -> Case:
    """The case with only what an expert said of organs that the run did not learn in it."""
    learned = record.annotated.get(case.id, frozenset()) if record else frozenset()
    cells = {
        key: cell
        for key, cell in case.cells.items()
        if key not in learned and case.status(key) is not Status.UNANNOTATED
    }
    return replace(case, cells=cells)
