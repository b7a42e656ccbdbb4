"""Workers that are tasks of Ray, on this machine or on all machines of a cluster. Ray is loaded when it is used."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from smiler.domain.checks import check_number
from smiler.domain.errors import BadInput
from smiler.domain.provenance import tool_version
from smiler.workers.answers import KILLS, Answer, answer, killed, portable
from smiler.workers.base import I, R, Work
from smiler.workers.cores import cores, usual_jobs
from smiler.workers.order import as_they_end, in_order

STORE_BYTES = 100 * 2**20
"""Memory for what a Ray of our own passes around: works and results are small."""

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class OverRay:
    """Tasks of Ray: `address` is 'local' (one of our own, ended with the work), 'auto' or an address of a cluster.

    `jobs` at once, else by the cores (or the GPUs); `gpus`: how many each needs. All machines must see the same files.
    """

    address: str = "local"
    jobs: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.jobs is not None:
            check_number(self.jobs, "--jobs", 1, whole=True)

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """As `Workers.map`."""
        with self._lanes(work) as lanes:
            yield from in_order(lanes, items)

    def ends(self, work: Work[I, R], items: Sequence[I]) -> Iterator[tuple[I, Answer[R]]]:
        """Every item with its result or error, as they end; one that fails does not stop the rest."""
        with self._lanes(work) as lanes:
            yield from as_they_end(lanes, items)

    @contextmanager
    def joined(self) -> Iterator["Share"]:
        """What each task gets; what is mapped meanwhile uses the same Ray."""
        with _connected(self.address) as ray:
            yield _share(ray, self)

    @contextmanager
    def _lanes(self, work: Work[I, R]) -> Iterator["_Lanes[I, R]"]:
        with _connected(self.address) as ray:
            share = _share(ray, self)
            options = {"num_cpus": share.threads, "num_gpus": self.gpus, "scheduling_strategy": "SPREAD"}
            # max_calls 0: a process keeps its network for the next item, also on a GPU
            task = ray.remote(**options, max_retries=KILLS - 1, max_calls=0)(_task)
            yield _Lanes(ray, task, share.jobs, ray.put(_Order(work, Path.cwd(), tool_version())), work)


@dataclass(frozen=True)
class _Order(Generic[I, R]):
    """A work, the folder from which its relative paths count, and the version that must do it."""

    work: Work[I, R]
    folder: Path
    version: str


@dataclass(frozen=True)
class Share:
    """How many tasks run at once, with how many threads each."""

    jobs: int
    threads: int


def _task(order: _Order[I, R], item: I) -> Answer[R]:
    """What runs in a process of Ray."""
    if order.version != tool_version():
        got = f"{tool_version()} instead of {order.version}"
        return Answer(error=BadInput("another version of smiler", where=_here(), got=got, do="install the same"))
    try:
        os.chdir(order.folder)
    except OSError as error:
        do = "run from a folder that all machines share"
        return Answer(error=BadInput("the folder can't be seen", where=_here(), got=str(error), do=do))
    return portable(answer(order.work, item, order.work.where))


def _here() -> str:
    return f"machine {os.uname().nodename}" if hasattr(os, "uname") else "a machine of the cluster"


@dataclass
class _Lanes(Generic[I, R]):
    ray: Any
    task: Any
    count: int
    order: Any
    work: Work[I, R]
    running: dict[Any, tuple[int, I]] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """One more than can run, so that none waits for us."""
        return len(self.running) <= self.count

    def begin(self, number: int, item: I) -> None:
        self.running[self.task.remote(self.order, item)] = (number, item)

    def wait(self) -> Iterator[tuple[int, Answer[R]]]:
        ended, _ = self.ray.wait(list(self.running), num_returns=1)
        for reference in ended:
            number, item = self.running.pop(reference)
            yield number, self._answer(reference, item)

    def _answer(self, reference: Any, item: I) -> Answer[R]:
        errors = self.ray.exceptions
        try:
            given: Answer[R] = self.ray.get(reference)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            return Answer(error=killed(self.work.where(item), type(error).__name__))
        except errors.RayError as error:
            got = str(error).strip().splitlines()[-1]
            do = "install the same smiler and Python on every machine"
            return Answer(error=BadInput("Ray could not do it", where=self.work.where(item), got=got, do=do))
        return given


def _share(ray: Any, wanted: OverRay) -> Share:
    """What of the cluster each task takes: never more cores than its smallest machine has."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    cpus, gpus = (sum(machine.get(kind, 0) for machine in machines) for kind in ("CPU", "GPU"))
    if wanted.gpus and gpus < wanted.gpus:
        raise BadInput("Ray has no GPU", where=f"--ray {wanted.address}", do="take the device cpu")
    jobs = wanted.jobs or (int(gpus / wanted.gpus) if wanted.gpus else usual_jobs(int(cpus)))
    return Share(jobs, max(1, int(min(cpus // jobs, *(machine["CPU"] for machine in machines)))))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, started or joined and left again; one that the caller has joined before is used and stays."""
    ray = _load()
    if ray.is_initialized():
        yield ray
        return
    own = {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        _reach(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(own if address == "local" else {}))
    except (OSError, ValueError, RuntimeError) as error:
        do = "start one with: ray start --head (RAY_AUTH_MODE must be the same here); or say --ray local"
        raise BadInput("no Ray answers", where=f"--ray {address}", got=str(error), do=do) from error
    try:
        with _speechless(ray):
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def _speechless(ray: Any) -> Iterator[None]:
    """Ray tells of processes that die on standard output, which belongs to the command; no option keeps it away."""
    module, name = ray._private.worker, "_worker_logs_enabled"
    before = getattr(module, name, True)
    setattr(module, name, False)
    try:
        yield
    finally:
        setattr(module, name, before)


def _reach(address: str) -> None:
    """Raise OSError where nobody listens: Ray would try for minutes."""
    host, sign, port = address.rpartition("//")[2].rpartition(":")
    if sign and port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _load() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that it is used
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # the first error is raised, the others not printed
    try:
        import ray
    except ImportError as error:
        do = "pip install 'smiler-seg[ray]', or use --jobs"
        raise BadInput("Ray is not installed", where="--ray", do=do) from error
    return ray
