"""Options of the commands that work through many cases: in how many processes, on which machines."""

from typing import Annotated

import typer

from smiler.workers.base import Workers

Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Cases side by side, each in its own process.")]
Ray = Annotated[
    str, typer.Option("--ray", metavar="local|auto|ADDRESS", help="Spread cases with Ray: here, or over its machines.")
]


def chosen(jobs: int | None, ray: str, gpus: float = 0.0) -> Workers | None:
    """The workers that the options ask for; None: what the command does without them. gpus: how many each needs."""
    if ray:
        from smiler.workers.over_ray import OverRay

        return OverRay(ray, jobs, gpus)
    if jobs is None:
        return None
    from smiler.workers.base import InProcess
    from smiler.workers.processes import Processes

    return Processes(jobs) if jobs > 1 else InProcess()
