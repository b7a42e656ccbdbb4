"""What the command line draws: progress bars with an ETA, notes, errors, JSON."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from smiler.domain.errors import BadInput, Faults, SmilerError

T = TypeVar("T")
LINE_SECONDS = 30.0
LOG_WIDTH = 110
out = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
err = Console(stderr=True, highlight=False)


class Bars:
    """Progress on the terminal (standard error, so that standard output stays clean for scripts)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.notes: list[str] = []
        self._bars: RichProgress | None = None
        self._open = 0

    def track(self, items: Iterable[T], title: str, total: int) -> Iterator[T]:
        """Yield the items under a bar."""
        if self.quiet:
            yield from items
            return
        if not err.is_terminal:
            yield from _told_in_lines(items, title, total)
            return
        bars = self._start()
        task = bars.add_task(title, total=total)
        try:
            for item in items:
                yield item
                bars.advance(task)
        finally:
            self._stop(bars, task)

    def _start(self) -> RichProgress:
        self._open += 1
        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bars = RichProgress(*columns, console=err, transient=True)
            self._bars.start()
        return self._bars

    def _stop(self, bars: RichProgress, task: Any) -> None:
        bars.remove_task(task)
        self._open -= 1
        if self._open == 0:
            bars.stop()
            self._bars = None

    def note(self, text: str) -> None:
        """One line for the user; also kept, for --json."""
        self.notes.append(text)
        if not self.quiet:
            err.print(escape(text), soft_wrap=True)


def _told_in_lines(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """For logs: a line every half minute instead of a bar."""
    begin = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - told > LINE_SECONDS and done:
            left = (now - begin) / done * (total - done)
            err.print(f"{title}: {done} of {total}, about {left / 60:.1f} min left", soft_wrap=True)
            told = now
        yield item


def show_error(error: SmilerError) -> None:
    """What is wrong, where, what was got, what to do."""
    faults = error.faults if isinstance(error, Faults) else (error,)
    if len(faults) > 1:
        err.print(f"[bold red]{len(faults)} faults[/]")
    for fault in faults[:50]:
        if isinstance(fault, BadInput):
            got = f" (got {fault.got})" if fault.got else ""
            err.print(f"[bold red]error[/] [bold]{safe(fault.where)}[/]: {safe(fault.what + got)}", soft_wrap=True)
            if fault.do:
                err.print(f"      {safe(fault.do)}", soft_wrap=True)
        else:
            err.print(f"[bold red]error[/] {safe(str(fault))}", soft_wrap=True)
    if len(faults) > 50:
        err.print(f"... and {len(faults) - 50} more")


def safe(text: str) -> str:
    """Text of unknown origin for the terminal: no markup, no control or direction marks."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return escape(shown)


def print_json(value: Any) -> None:
    """JSON on standard output, for scripts; where that can't hold every character, as ASCII (Windows: cp1252)."""
    plain = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=plain) + "\n")
