"""Workers: whichever they are, the same results in the same order; who is killed costs one item, not the work."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proc import hear_ctrl_c
from works import Deadly, Faulty, Refusing, Square, Threads, counted, times

from smiler.domain.errors import BadInput, CheckFailed, Faults, SmilerError, Stopped
from smiler.workers.base import InProcess, Workers
from smiler.workers.cores import cores, limit_threads, own_cores, usual_jobs
from smiler.workers.order import AHEAD
from smiler.workers.over_ray import OverRay
from smiler.workers.pipelined import Pipelined
from smiler.workers.processes import Processes
from smiler.workers.threads import Threads as InThreads

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'smiler-seg[ray]'"
)
KINDS: dict[str, Workers] = {
    "here": InProcess(),
    "pipelined": Pipelined(),
    "threads": InThreads(2),
    "processes": Processes(2),
    "ray": OverRay("local", 2),
}
APART = ["processes", pytest.param("ray", marks=needs_ray)]
ALL = ["here", "pipelined", "threads", *APART]


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """To start Ray takes seconds: one for the tests of this file, which `OverRay` finds and leaves as it is."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    yield
    assert ray.is_initialized()
    ray.shutdown()


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> Workers:
    """Workers by their name in KINDS, two at once."""
    if request.param == "ray":
        request.getfixturevalue("one_ray")
    return KINDS[request.param]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workers", ALL, indirect=True)
@pytest.mark.parametrize("total", [0, 1, 9])
def test_results_come_in_the_order_of_the_items_each_done_once(workers: Workers, total: int, tmp_path: Path) -> None:
    assert list(workers.map(Square(tmp_path), range(total))) == [item * item for item in range(total)]
    assert times(tmp_path) == {str(item): 1 for item in range(total)}


@pytest.mark.parametrize("workers", APART, indirect=True)
def test_the_work_is_done_in_other_processes_and_in_several(workers: Workers, tmp_path: Path) -> None:
    list(workers.map(Square(tmp_path), range(12)))
    pids = {int(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}
    assert os.getpid() not in pids
    assert len(pids) == 2


@pytest.mark.parametrize("workers", ALL, indirect=True)
def test_only_a_few_items_are_taken_before_their_results_are_wanted(workers: Workers, tmp_path: Path) -> None:
    taken: list[int] = []
    results = workers.map(Square(tmp_path), counted(taken, 1000))
    for wanted in range(5):
        assert next(results) == wanted * wanted
        assert len(taken) <= wanted + 1 + 2 * AHEAD
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", APART, indirect=True)
def test_a_killed_worker_costs_only_the_item_that_it_worked_on(workers: Workers, tmp_path: Path) -> None:
    found = list(workers.map(Deadly(tmp_path, at=(3, 8)), range(12)))
    assert found == [item * item for item in range(12)]
    assert times(tmp_path) == {str(item): 1 + (item in (3, 8)) for item in range(12)}


@pytest.mark.parametrize("workers", APART, indirect=True)
def test_an_item_that_kills_three_workers_is_one_clear_error(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        list(workers.map(Deadly(tmp_path, at=(2,), kills=99), range(5)))
    text = r"number 2: 3 processes that worked on it died; got (signal 9|WorkerCrashedError); do: .*memory.*fewer jobs"
    assert caught.match(text)
    assert times(tmp_path)["2"] == 3


@pytest.mark.parametrize("workers", ALL, indirect=True)
@pytest.mark.parametrize("at", [2, 3])
def test_an_error_arrives_as_the_same_error_with_the_same_text(workers: Workers, at: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as expected:
        Refusing(tmp_path, at=(at,))(at)
    results = workers.map(Refusing(tmp_path, at=(at, 4)), range(6))
    assert [next(results) for _ in range(at)] == [item * item for item in range(at)]
    with pytest.raises(SmilerError) as caught:
        next(results)
    assert type(caught.value) is type(expected.value)
    assert str(caught.value) == str(expected.value)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("workers", APART, indirect=True)
def test_a_fault_of_ours_says_where_in_the_worker_it_came_up(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Odd: strangeness") as odd:
        list(workers.map(Faulty(tmp_path), [1]))
    with pytest.raises(ZeroDivisionError) as division:
        list(workers.map(Faulty(tmp_path), [0, 2]))
    for error in (odd.value, division.value):
        assert "works.py" in error.__notes__[0]


def test_processes_share_the_machines_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = max(1, cores() // 2)
    assert list(Processes(2).map(Threads(tmp_path), range(2))) == [share, share]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert list(Processes(1).map(Threads(tmp_path), [0])) == [1]


@pytest.mark.parametrize(("own", "kept"), [("", 3), ("8", 3), ("2", 2), ("0", 3), ("2,2", 3)])
def test_a_lower_limit_of_threads_stays(own: str, kept: int) -> None:
    environment = {"OMP_NUM_THREADS": own}
    limit_threads(environment, 3)
    assert environment == {"OMP_NUM_THREADS": str(kept), "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}


@pytest.mark.parametrize(("machine", "jobs"), [(1, 1), (2, 2), (4, 2), (16, 4)])
def test_usual_jobs(machine: int, jobs: int) -> None:
    assert usual_jobs(machine) == jobs


@pytest.mark.parametrize(
    "error",
    [
        SmilerError("a"),
        BadInput("what", where="here", got="this", do="that"),
        Faults([BadInput("one", where="a"), BadInput("two", where="b", do="c")]),
        CheckFailed("x"),
        Stopped("y"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_travels_as_it_is(error: SmilerError) -> None:
    again: Any = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert (str(again), again.args, again.exit_code) == (str(error), error.args, error.exit_code)
    if isinstance(error, Faults):
        assert [str(fault) for fault in again.faults] == [str(fault) for fault in error.faults]


NOBODY = """
from pathlib import Path
from works import Square
from smiler.workers.over_ray import OverRay
list(OverRay("127.0.0.1:1").map(Square(Path()), [1]))
"""
SCRIPT = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
sys.path.insert(0, {tests!r})
from works import Square, note
from smiler.workers.pipelined import Pipelined
from smiler.workers.processes import Processes

@dataclass(frozen=True)
class Slow(Square):
    def __call__(self, item):
        note(self.folder, item)
        time.sleep(60)

if __name__ == "__main__":
    list(Processes(2).map(Slow(Path(sys.argv[1])), range(4)))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sees processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_stops_the_program_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    hear_ctrl_c()
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    notes.mkdir()
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    with subprocess.Popen([sys.executable, script, notes], stderr=subprocess.PIPE, start_new_session=True) as program:
        deadline = time.monotonic() + 60
        while len(list(notes.iterdir())) < 2 or not all(path.stat().st_size for path in notes.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = [int(path.read_text(encoding="utf-8")) for path in notes.iterdir()]
        assert all(map(alive, workers))
        (os.killpg if number is signal.SIGINT else os.kill)(program.pid, number)  # the terminal's Ctrl-C reaches all
        told = program.communicate(timeout=30)[1].decode()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert told.count("KeyboardInterrupt") == (number is signal.SIGINT)  # of the program, none of its processes


@needs_ray
def test_a_ray_that_does_not_answer_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + NOBODY)
    command = [sys.executable, tmp_path / "script.py"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
    assert "BadInput: --ray 127.0.0.1:1: no Ray answers; got" in told
    assert "do: start one with: ray start --head (RAY_AUTH_MODE must be the same here); or say --ray local" in told


def test_without_ray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"Ray is not installed; do: pip install 'smiler-seg\[ray\]'"):
        list(OverRay().map(Square(tmp_path), [1]))


def test_threads_stop_without_working_on_the_rest(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        list(InThreads(2).map(Refusing(tmp_path, at=(0,)), counted(taken := [], 1000)))
    assert len(taken) <= 2 * AHEAD
    assert threading.active_count() < 20


@pytest.mark.parametrize("own", ["", "20"])
def test_numpys_threads_sleep_after_a_product_unless_somebody_wants_them_awake(own: str) -> None:
    """The setting is read when numpy is loaded, so the package must come first."""
    code = "import os, sys, smiler; print('numpy' in sys.modules, os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    rest = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"}
    environment = rest | ({"OPENBLAS_THREAD_TIMEOUT": own} if own else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", own or "4"]


def test_a_process_has_as_many_cores_as_its_libraries_may_have_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert own_cores() == cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert own_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    monkeypatch.setenv("MKL_NUM_THREADS", "many")
    assert own_cores() == cores()
