"""Two machines on one: two Linux network namespaces with nothing but a link between them. The files they share.

    sudo make check-machines      # root, iproute2 and Ray; results/bench/machines.json

A prediction over a Ray of both writes what one process writes, also when one machine dies in the middle; a training
with one process on each (torchrun, gloo) has the losses of one process.
"""

import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.training.events import read_events
from smiler.verbs.run import RunFolder

RESULT = Path(__file__).parents[1] / "results" / "bench" / "machines.json"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SMILER = ["-m", "smiler"]
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
CPU = ["-s", "training.device=cpu", "-s", "training.precision='32'"]
TINY = [*CPU, "-s", "network.width=8", "-s", "sampling.patch_size=32", "-s", "sampling.batch_size=4"]
TINY += ["-s", "data.spacing_xy_mm=native", "-s", "training.learning_rate=0.001", "--method", "smile"]
VOLUMES, SIZE = 12, (48, 128, 128)
SECONDS = 600
LOSSES, WEIGHTS = 2e-3, 0.01
"""How much two processes may differ from one, as in tests/e2e/test_processes.py."""


@dataclass(frozen=True)
class Host:
    """A network namespace with an address of its own."""

    name: str
    address: str

    def command(self, *words: object) -> list[str]:
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def start(self, *words: object) -> "subprocess.Popen[str]":
        environment = {**os.environ, **QUIET, "GLOO_SOCKET_IFNAME": "wire"}
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*words), env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: object) -> str:
        return ended(self.start(*words))

    def pids(self) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout
        return [int(pid) for pid in found.split()]

    def works(self) -> bool:
        """Whether a task of ours is being done here."""
        return any(named(pid).startswith(b"ray::_task") for pid in self.pids())

    def kill(self) -> None:
        """kill -9 for every process, as if the power went."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def sent_mb(self) -> float:
        return int(self.run("cat", "/sys/class/net/wire/statistics/tx_bytes")) / 1e6


HEAD, OTHER = HOSTS = Host("smiler-a", "10.77.0.1"), Host("smiler-b", "10.77.0.2")
CLUSTER = f"{HEAD.address}:6379"


def named(pid: int) -> bytes:
    """How a process calls itself; nothing if it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def ended(process: "subprocess.Popen[str]") -> str:
    """What a process told, once it has ended well."""
    out, err = process.communicate(timeout=SECONDS)
    if process.returncode:
        raise SystemExit(f"{process.args} failed:\n{out}\n{err}")
    return out


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def wired() -> Iterator[None]:
    """Both hosts, with a link between them and no other."""
    try:
        for host in HOSTS:
            ip("netns", "add", host.name)
        ip("link", "add", "wire", "netns", HEAD.name, "type", "veth", "peer", "name", "wire", "netns", OTHER.name)
        for host in HOSTS:
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", host.name, "link", "set", device, "up")
            ip("-n", host.name, "route", "add", "default", "dev", "wire")
        yield
    finally:
        for host in HOSTS:
            host.kill()
            subprocess.run(["ip", "netns", "delete", host.name], check=False)


@contextmanager
def ray_of_both(work: Path) -> Iterator[None]:
    """A Ray whose head is on one host, with one core of each."""
    limits = ["--num-cpus", 1, "--object-store-memory", 10**8]
    try:
        for host, role in (
            (HEAD, ["--head", "--port", 6379, "--include-dashboard=false"]),
            (OTHER, ["--address", CLUSTER]),
        ):
            place = ["--node-ip-address", host.address, "--temp-dir", work / host.name]
            host.run(*RAY, "start", *role, *place, *limits)
        yield
    finally:
        for host in HOSTS:
            host.kill()


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def tasks_by_host() -> dict[str, int]:
    """Host -> tasks of ours that ended there, by Ray's own records, which may lack the last one."""
    ask = f"import ray, json; ray.init({CLUSTER!r}); print(json.dumps(ray.timeline()))"
    events = json.loads(HEAD.run(sys.executable, "-c", ask).splitlines()[-1])
    names = {host.address: host.name for host in HOSTS}
    return dict(Counter(names[event["pid"]] for event in events if event.get("cat") == "task::_task"))


def prediction(work: Path) -> dict[str, Any]:
    """One process, a Ray of both hosts, and one that loses a host."""
    make_phantom_cohort(work / "cohort", VOLUMES, SIZE)
    smiler = [sys.executable, *SMILER]
    HEAD.run(*smiler, "train", work / "cohort", work / "run", "--steps", 20, *TINY)
    predict = [*smiler, "predict", work / "run", work / "cohort", "--device", "cpu", "--out"]
    HEAD.run(*predict, work / "one")
    expected = tree(work / "one")
    with ray_of_both(work):
        begin = time.monotonic()
        HEAD.run(*predict, work / "two", "--ray", CLUSTER)
        seconds = time.monotonic() - begin
        tasks = tasks_by_host()
        assert tree(work / "two") == expected
        assert set(tasks) == {host.name for host in HOSTS}, tasks
        killed = one_host_dies([*predict, work / "three", "--ray", CLUSTER], work / "three", expected)
    return {"volumes": VOLUMES, "tasks": tasks, "identical": True, "seconds": round(seconds, 1), "killed": killed}


def one_host_dies(predict: list[object], out: Path, expected: dict[str, bytes]) -> dict[str, Any]:
    """kill -9 for everything on the other host while it works and some volumes are finished."""
    process = HEAD.start(*predict)
    while not (OTHER.works() and (finished := list(out.glob("*/provenance.json")))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    OTHER.kill()
    kept = {path: path.stat() for path in finished}
    begin = time.monotonic()
    ended(process)
    assert len(kept) < VOLUMES, "all were finished before the host died"
    assert tree(out) == expected
    for path, before in kept.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    seconds = round(time.monotonic() - begin, 1)
    return {"finished_before": len(kept), "done_again": 0, "identical": True, "seconds_after": seconds}


def training(work: Path) -> dict[str, Any]:
    """One process; then one on each host, with the same batch shared over the link."""
    hide(make_phantom_cohort(work / "all", 5, (8, 32, 32)), work / "hidden", 0.5)
    train = [*SMILER, "train", work / "hidden" / "cohort"]
    options = ["--steps", 60, *TINY, "-s", "network.dropout=0.3"]
    HEAD.run(sys.executable, *train, work / "alone", *options)
    before, begin = HEAD.sent_mb(), time.monotonic()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1]
    launcher += ["--master-addr", HEAD.address, "--master-port", 29500, "--node-rank"]
    for process in [host.start(*launcher, rank, *train, work / "both", *options) for rank, host in enumerate(HOSTS)]:
        ended(process)
    seconds, sent = time.monotonic() - begin, HEAD.sent_mb() - before
    difference, distance = compared(RunFolder(work / "alone"), RunFolder(work / "both"))
    assert difference < LOSSES
    assert distance < WEIGHTS
    found = {"loss_difference": difference, "weights_distance": distance}
    return {
        "steps": 60,
        **{k: float(f"{v:.1e}") for k, v in found.items()},
        "sent_mb": round(sent, 1),
        "seconds": round(seconds, 1),
    }


def compared(one: RunFolder, two: RunFolder) -> tuple[float, float]:
    """The largest relative difference between the losses, and between the weights as a whole."""
    first, second = (
        [event["loss"] for event in read_events(run.path / "events.jsonl") if event["event"] == "step"]
        for run in (one, two)
    )
    assert len(first) == len(second) > 2
    ones, twos = (
        torch.cat([value.double().flatten() for value in run.newest().tensors("model").values()]) for run in (one, two)
    )
    apart = max(abs(b - a) / a for a, b in zip(first, second, strict=True))
    return apart, float((twos - ones).norm() / ones.norm())


def main() -> None:
    """Check and write."""
    if not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") and find_spec("ray")):
        raise SystemExit(
            "network namespaces need Linux, root and iproute2 (apt-get install iproute2), and Ray: pip install ray"
        )
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, wired():
        outcome: dict[str, Any] = {
            "command": "make check-machines",
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, two network namespaces with a veth link",
            "versions": {name: version(name) for name in ("smiler-seg", "torch", "ray")},
            "training": training(Path(folder)),
            "prediction": prediction(Path(folder)),
        }
    outcome["took_minutes"] = round((time.monotonic() - begin) / 60, 1)
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
