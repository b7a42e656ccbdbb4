"""Options of the commands that work through many cases: in how many processes, on which machines."""

import math
from typing import Annotated

import typer

from smiler.domain.errors import BadInput
from smiler.workers.base import Workers

GB = 10**9

Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Cases side by side, each in its own process.")]
Ray = Annotated[
    str, typer.Option("--ray", metavar="local|auto|ADDRESS", help="Spread cases with Ray: here, or over its machines.")
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="GB",
        help="In one process: memory for the CT computed, the next being read and the last being written; 0: one CT "
        "after the other. Default: on a GPU half of what is available, on a CPU 0.",
    ),
]


def chosen(jobs: int | None, ray: str, gpus: float = 0.0, memory: float | None = None) -> Workers | None:
    """The workers that the options ask for; None: what the command does without them. gpus: how many each needs."""
    if memory is not None and not math.isfinite(memory):
        raise BadInput("not a size", where="--memory", got=f"{memory:g}", do="give GB, as 8 or 0.5")
    if memory is not None and (ray or (jobs or 1) > 1):
        do = "leave it out with --jobs and --ray: each of their processes does one CT after the other"
        raise BadInput("it is for one process", where="--memory", got=f"{memory:g}", do=do)
    if ray:
        from smiler.workers.over_ray import OverRay

        return OverRay(ray, jobs, gpus)
    if jobs is None and memory is None:
        return None
    from smiler.workers.pipelined import Pipelined
    from smiler.workers.processes import Processes

    return Processes(jobs) if jobs and jobs > 1 else Pipelined(None if memory is None else int(memory * GB))
