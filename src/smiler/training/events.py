"""A run's events: one JSON object a line, read by the report, the plot and TensorBoard."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, model_validator

from smiler.domain.errors import BadInput
from smiler.domain.files import cannot_write, parse_json, write_text
from smiler.domain.shaped import as_shape, read_lines

Event = Mapping[str, Any]


class Events:
    """Appends to `events.jsonl`. After a kill, `rewind` drops what the resumed run will do again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None

    def add(self, kind: str, **facts: Any) -> None:
        """Append one event."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Also hand numbers to TensorBoard, in the run's folder `tensorboard`."""
        if self._writer is None:
            self._writer = tensorboard_writer(self.path.parent / "tensorboard")
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def rewind(self, keep: Callable[[Event], bool]) -> None:
        """Keep only some events."""
        if self.path.exists():
            kept = [json.dumps(event) + "\n" for event in read_events(self.path) if keep(event)]
            write_text(self.path, "".join(kept))


class _Shape(BaseModel):
    """One event; those of a step have all of the numbers."""

    event: str
    stage: int = Field(default=0, ge=0, lt=2**31)
    step: int = Field(default=0, ge=0, lt=2**53)
    loss: FiniteFloat | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "_Shape":
        if self.event == "step" and not {"stage", "step", "loss"} <= self.model_fields_set:
            raise ValueError("a step has a stage, a step and a loss")
        return self


def read_events(path: Path) -> list[Event]:
    """All whole lines of an event file; a line cut off by a kill at the very end is passed over."""
    if not path.exists():
        return []
    lines = list(read_lines(path))
    events = []
    for number, line in lines:
        where = f"{path}, line {number}"
        try:
            event = parse_json(line, where)
        except BadInput as error:
            if number < len(lines):
                raise BadInput("not an event", where=where, got=line[:60]) from error
            continue
        try:
            as_shape(event, _Shape, f"line {number}")
        except BadInput as error:
            got = f"{error.where}: {error.got}"
            raise BadInput(f"not an event: {error.what}", where=str(path), got=got, do=error.do) from error
        events.append(event)
    return events


def tensorboard_writer(folder: Path) -> Any:
    """A TensorBoard writer; BadInput if the extra is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadInput(
            "TensorBoard is not installed", where="training.tensorboard", do="pip install 'smiler-seg[tracking]'"
        ) from error
    return SummaryWriter(str(folder))
