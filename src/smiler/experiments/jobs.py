"""Trials in processes of their own, several at a time: one that fails is named and does not stop the rest."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from smiler.domain.errors import BadInput
from smiler.domain.progress import Progress, Silent
from smiler.experiments.trial import TrialFolder
from smiler.experiments.worker import LOG
from smiler.training.events import read_events
from smiler.workers.cores import threads_each

POLL_SECONDS = 0.5
TAIL = 6


class Runner(Protocol):
    """Who runs trials: `jobs` at a time, with `threads` each."""

    @property
    def jobs(self) -> int:
        """How many at a time."""

    @property
    def threads(self) -> int:
        """Threads of each."""

    def run(self, folders: Sequence[TrialFolder], progress: Progress) -> dict[Path, str]:
        """Run all of them; what failed, with the end of its log."""


def run_trials(folders: Sequence[TrialFolder], runner: Runner, progress: Progress | None = None) -> dict[Path, str]:
    """Run every trial that is not done, in order; returns what failed, with the end of its log."""
    shown = progress or Silent()
    waves: dict[bool, list[TrialFolder]] = {False: [], True: []}
    for folder in folders:
        waves[folder.trial().trained_by is not None].append(folder)
    failed: dict[Path, str] = {}
    for wave in waves.values():
        todo = [folder for folder in wave if not folder.done]
        if todo:
            failed |= runner.run(todo, shown)
    return failed


class LocalJobs:
    """Processes that live from trial to trial (to start one takes seconds); one that dies is replaced.

    Ctrl-C and SIGTERM reach them too: each writes a checkpoint, and the next call goes on from there.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs, self.threads = jobs, threads_each(jobs)
        self.stopping = threading.Event()
        self.workers: dict[int, subprocess.Popen[str]] = {}

    def run(self, folders: Sequence[TrialFolder], progress: Progress) -> dict[Path, str]:
        """As `Runner.run`."""
        with ThreadPoolExecutor(self.jobs) as pool:
            results = {folder.path: pool.submit(self._one, folder) for folder in folders}
            total = sum(folder.trial().recipe.training.steps for folder in folders)
            try:
                for _ in progress.track(_steps_as_they_come(folders, results, progress), "training", total):
                    pass
            except BaseException:
                self.stopping.set()
                for worker in list(self.workers.values()):
                    worker.terminate()
                raise
            finally:
                for worker in list(self.workers.values()):
                    _end(worker)
        return {path: text for path, result in results.items() if (text := result.result())}

    def _one(self, folder: TrialFolder) -> str:
        """Run one trial to its end in this thread's process; the text of its failure, or ''."""
        if self.stopping.is_set():
            return "not begun"
        try:
            worker = self._worker(folder.trial().threads)
            answer = _ask(worker, folder.path.resolve())
        except OSError:
            answer = ""
        if not answer:
            _end(self.workers.pop(threading.get_ident(), None))
        if answer == "0" and folder.done:
            return ""
        return failure(folder, f"exit status {answer}" if answer else "the process was killed")

    def _worker(self, threads: int) -> "subprocess.Popen[str]":
        """This thread's process, started when first wanted, or when the last one has died."""
        mine = threading.get_ident()
        worker = self.workers.get(mine)
        if worker is None or worker.poll() is not None:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
            command = [sys.executable, "-m", "smiler.experiments.worker"]
            pipe = subprocess.PIPE
            worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=None, text=True, env=environment)
            self.workers[mine] = worker
        return worker


def failure(folder: TrialFolder, how: str) -> str:
    """How a trial ended, and the end of its log."""
    log = folder.path / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join([how, *lines[-TAIL:]])


def _end(worker: "subprocess.Popen[str] | None") -> None:
    """Let a process end (it does when nothing more can be asked of it) and free its pipes."""
    if worker is None:
        return
    if worker.stdin:
        with suppress(OSError):
            worker.stdin.close()
    worker.wait()
    if worker.stdout:
        worker.stdout.close()


def _ask(worker: "subprocess.Popen[str]", folder: Path) -> str:
    """Hand a trial to a process and wait for its answer; '' if it died."""
    if worker.stdin is None or worker.stdout is None:
        return ""
    worker.stdin.write(f"{folder}\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


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
                progress.note(ending(folder, results[folder.path].result()))
        now = sum(seen.values())
        yield from (None for _ in range(now - told))
        told = max(told, now)


def ending(folder: TrialFolder, failed: str) -> str:
    """One line about a trial that has ended."""
    name = folder.trial().name
    if failed:
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
