"""What the command line draws: progress bars with an ETA, notes, errors, JSON.

Whatever comes from outside (names, titles, texts of files) is made safe here, and nowhere else: what is printed is
text, never markup, and what could steer a terminal is shown as an escape.
"""

import json
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.text import Text

from smiler.domain.errors import BadInput, Faults, SmilerError

T = TypeVar("T")
LINE_SECONDS = 30.0
LOG_WIDTH = 110


def plain(text: str, *, lines: bool = False) -> str:
    """Text in which escapes stand for what could steer a terminal, and for line breaks unless there may be `lines`."""
    return "".join(c if _harmless(c) or (lines and c == "\n") else repr(c)[1:-1] for c in text)


def _harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


class PlainConsole(Console):
    """A console that draws text only as text: in lines, tables, titles, bars, whoever made them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as it is; a line break in it is a part of a name, not a line."""
        return super().render_str(plain(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The same for what our own code has styled; its line breaks stay."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control else Segment(plain(text, lines=True), segment.style)


_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
out = PlainConsole(width=None if sys.stdout.isatty() else LOG_WIDTH, **_PLAIN)
err = PlainConsole(stderr=True, **_PLAIN)


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
            self._bars = RichProgress(*columns(), console=err, transient=True)
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
            err.print(text, soft_wrap=True)


def columns() -> tuple[ProgressColumn, ...]:
    """What a bar shows."""
    title = TextColumn("{task.description}", markup=False)
    return title, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()


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
        err.print(f"{len(faults)} faults", style="bold red")
    for fault in faults[:50]:
        if isinstance(fault, BadInput):
            got = f" (got {fault.got})" if fault.got else ""
            where = (plain(fault.where), "bold")
            err.print(Text.assemble(_ERROR, where, f": {plain(fault.what + got)}"), soft_wrap=True)
            if fault.do:
                err.print(f"      {fault.do}", soft_wrap=True)
        else:
            err.print(Text.assemble(_ERROR, str(fault)), soft_wrap=True)
    if len(faults) > 50:
        err.print(f"... and {len(faults) - 50} more")


_ERROR = Text.assemble(("error", "bold red"), " ")


def print_json(value: Any) -> None:
    """JSON on standard output, for scripts."""
    sys.stdout.write(json_text(value, indent=1))


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that steers no terminal; where standard output can't hold every character, in ASCII (Windows: cp1252)."""
    ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n"
