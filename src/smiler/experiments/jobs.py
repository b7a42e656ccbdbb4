"""Trials in processes of their own, several at a time: one that fails is named and does not stop the rest."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.progress import Progress, Silent
from smiler.experiments.trial import TrialFolder
from smiler.training.events import read_events

LOG = "log.txt"
POLL_SECONDS = 0.5
TAIL = 6


def usual_jobs() -> int:
    """Two where there are two cores (one thread convolves more than half as fast as two), then one for every four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(2, cores), cores // 4)


def threads_each(jobs: int) -> int:
    """Threads of each of so many processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def run_trials(folders: Sequence[TrialFolder], jobs: int, progress: Progress | None = None) -> dict[Path, str]:
    """Run every trial that is not done, `jobs` at a time and in order; returns what failed, with the end of its log.

    Ctrl-C and SIGTERM reach the processes too: each writes a checkpoint, and the next call goes on from there.
    """
    shown = progress or Silent()
    waves: dict[bool, list[TrialFolder]] = {False: [], True: []}
    for folder in folders:
        waves[folder.trial().trained_by is not None].append(folder)
    failed: dict[Path, str] = {}
    for wave in waves.values():
        todo = [folder for folder in wave if not folder.done]
        if todo:
            failed |= _Pool(jobs).run(todo, shown)
    return failed


@dataclass
class _Pool:
    """The processes that are running now."""

    jobs: int
    running: dict[Path, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, folders: Sequence[TrialFolder], progress: Progress) -> dict[Path, str]:
        with ThreadPoolExecutor(self.jobs) as pool:
            results = {folder.path: pool.submit(self._one, folder) for folder in folders}
            total = sum(folder.trial().recipe.training.steps for folder in folders)
            try:
                for _ in progress.track(_steps_as_they_come(folders, results, progress), "training", total):
                    pass
                wait(results.values())
            except BaseException:
                self.stopping.set()
                for process in list(self.running.values()):
                    process.terminate()
                raise
        return {path: text for path, result in results.items() if (text := result.result())}

    def _one(self, folder: TrialFolder) -> str:
        """Run one trial to its end; the text of its failure, or ''."""
        if self.stopping.is_set():
            return ""
        threads = folder.trial().threads
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "smiler.experiments.worker", str(folder.path)]
        with (folder.path / LOG).open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            self.running[folder.path] = process
            code = process.wait()
        self.running.pop(folder.path, None)
        if code == 0 and folder.done:
            return ""
        lines = (folder.path / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"exit status {code}", *lines[-TAIL:]])


def _steps_as_they_come(
    folders: Sequence[TrialFolder], results: Mapping[Path, "Future[str]"], progress: Progress
) -> Iterator[None]:
    """One item for every training step of any trial, until all have ended; notes what ended."""
    told, ended = 0, set[Path]()
    seen: dict[Path, int] = {}
    while len(ended) < len(folders):
        time.sleep(POLL_SECONDS)
        for folder in folders:
            if folder.path in ended:
                continue
            seen[folder.path] = steps_done(folder.path)
            if results[folder.path].done():
                ended.add(folder.path)
                seen[folder.path] = folder.trial().recipe.training.steps
                progress.note(_ending(folder, results[folder.path].result()))
        now = sum(seen.values())
        yield from (None for _ in range(now - told))
        told = max(told, now)


def _ending(folder: TrialFolder, failure: str) -> str:
    name = folder.trial().name
    if failure:
        return f"failed: {name}; see {folder.path / LOG}"
    outcome = folder.outcome()
    return f"done: {name}: Dice {outcome['dice']:.1f}, {outcome['train_seconds'] + outcome['measure_seconds']:.0f} s"


def steps_done(run: Path) -> int:
    """Training steps that a run has logged, over all its stages."""
    last: dict[int, int] = {}
    try:
        for event in read_events(run / "events.jsonl"):
            if event.get("event") == "step":
                last[event["stage"]] = event["step"]
    except (BadInput, OSError):  # another process is writing it
        return 0
    return sum(last.values())
