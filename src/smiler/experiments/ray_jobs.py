"""Trials as tasks of Ray: one whose process or machine dies is done again and goes on from its checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smiler.domain.progress import Progress
from smiler.experiments.jobs import ending, failure
from smiler.experiments.trial import TrialFolder
from smiler.experiments.worker import run_logged
from smiler.workers.answers import Answer
from smiler.workers.over_ray import OverRay


@dataclass(frozen=True)
class RayJobs:
    """Trials over a Ray that is joined; progress is told trial by trial."""

    ray: OverRay
    jobs: int
    threads: int

    @classmethod
    @contextmanager
    def joined(cls, ray: OverRay) -> Iterator["RayJobs"]:
        """Join it (or start one), for as many waves of trials as there are."""
        with ray.joined() as share:
            yield cls(ray, share.jobs, share.threads)

    def run(self, folders: Sequence[TrialFolder], progress: Progress) -> dict[Path, str]:
        """As `Runner.run`."""
        failed = {}
        ends = self.ray.ends(RunTrial(), folders)
        for folder, answer in progress.track(ends, "trials", len(folders)):
            text = _failure(folder, answer)
            progress.note(ending(folder, text))
            if text:
                failed[folder.path] = text
        return failed


@dataclass(frozen=True)
class RunTrial:
    """The work: a trial's folder in, its exit status out; what it made lies in the folder."""

    def __call__(self, folder: TrialFolder) -> int:
        """Run it, or go on with it."""
        return run_logged(folder.path)

    def where(self, folder: TrialFolder) -> str:
        """How an error names it."""
        return str(folder.path)


def _failure(folder: TrialFolder, answer: Answer[int]) -> str:
    """Why there is no outcome, or ''."""
    if answer.error is not None:
        return failure(folder, str(answer.error))
    status = answer.get()
    return failure(folder, f"exit status {status}") if status else ""
