"""A plan in a terminal: each choice with its reason, then what it costs."""

from typing import Any

from rich.console import Console
from rich.table import Table

from smiler.verbs.plan import Plan


def show(plan: Plan, console: Console) -> None:
    """Print the choices and the cost of the training."""
    table = Table("option", "value", "why", box=None, pad_edge=False)
    for choice in plan.choices:
        table.add_row(choice.option, str(choice.value), choice.reason)
    console.print(table)
    recipe, trial = plan.recipe, plan.trial
    gpu = f", {trial.gpu_gb:.1f} GB on the GPU" if trial.gpu_gb else ""
    console.print(
        f"{recipe.training.steps} steps of {recipe.sampling.batch_size} patches: about {plan.minutes:.0f} min, "
        f"{trial.memory_gb:.1f} GB{gpu}"
    )


def to_json(plan: Plan) -> dict[str, Any]:
    """As plain JSON."""
    rows = [{"option": c.option, "value": c.value, "why": c.reason} for c in plan.choices]
    trial = plan.trial
    cost = {"memory_gb": trial.memory_gb, "gpu_gb": trial.gpu_gb, "seconds_a_step": trial.seconds_a_step}
    return {"choices": rows, **cost, "steps": plan.recipe.training.steps, "minutes": plan.minutes}
