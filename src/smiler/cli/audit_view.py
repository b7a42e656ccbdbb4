"""The audit in a terminal: coverage, what the loss will see, then what to look at and what to mend."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from smiler.audit.audit import Audit, Coverage
from smiler.cli.console import plain
from smiler.domain.evidence import Code

MOST_COLUMNS = 40
"""More cases than this are counted, not drawn one by one."""
WIDEST_IDS = 56
"""Case ids stand above the matrix if they fit into this many characters; otherwise cases are numbered."""
MOST_NOTES = 30
_MARKS = {
    Coverage.ANNOTATED: ("■", "#", "green"),
    Coverage.PARTIAL: ("◧", "%", "yellow"),
    Coverage.ABSENT: ("○", "0", "cyan"),
    Coverage.AUTO: ("~", "~", "magenta"),
    Coverage.UNANNOTATED: ("·", ".", "dim"),
}
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def show(audit: Audit, console: Console) -> None:
    """Print the audit; faults last, where the eye is."""
    if audit.cases:
        _print_coverage(audit, console, ascii_only=console.options.ascii_only)
        console.print()
        console.print(_evidence(audit))
        console.print(Text(_explanation(audit), style="dim"))
    _print_list(console, "note", audit.notes, "yellow", MOST_NOTES)
    _print_list(console, "fault", [str(fault) for fault in audit.faults], "red", len(audit.faults))
    if audit.ok:
        console.print(Text("\nNo fault found.", style="green"))


def human(count: int) -> str:
    """A count in at most five characters: 740, 8.2 k, 1.3 M."""
    for size, unit in _UNITS:
        if count >= 0.9995 * size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return str(count)


def percent(part: int, whole: int) -> str:
    """A share that is never rounded to nothing nor to everything."""
    value = 100 * part / whole if whole else 0.0
    if 0 < value < 0.01:
        return "<0.01 %"
    if 99.95 <= value < 100:
        return ">99.9 %"
    return f"{value:.{2 if value < 1 else 1}f} %" if 0 < value < 100 else f"{value:.0f} %"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")


def _print_coverage(audit: Audit, console: Console, *, ascii_only: bool) -> None:
    if len(audit.cases) > MOST_COLUMNS:
        console.print(_totals(audit, ascii_only))
    else:
        console.print(_matrix(audit, ascii_only))
        console.print(_legend(audit, ascii_only))


def _matrix(audit: Audit, ascii_only: bool) -> Table:
    """Organs as rows, one mark per case."""
    named = sum(len(case) + 2 for case in audit.cases) <= WIDEST_IDS
    table = _table("Coverage")
    table.add_column("organ", no_wrap=True)
    for heading in audit.cases if named else (_ruler(len(audit.cases)),):
        table.add_column(Text(heading), justify="center" if named else "left", no_wrap=True)
    table.add_column("missing", justify="right", no_wrap=True)
    for organ, column in zip(audit.organs, zip(*audit.coverage, strict=True), strict=True):
        marks = [_mark(status, ascii_only) for status in column]
        cells = marks if named else [Text("").join(marks)]
        table.add_row(_title(audit, organ), *cells, f"{100 * audit.alpha(organ):.0f} %")
    return table


def _ruler(count: int) -> str:
    """Case numbers in the ledger's order, tens above units."""
    tens = "".join(str(n // 10) if n % 10 == 0 else " " for n in range(1, count + 1))
    units = "".join(str(n % 10) for n in range(1, count + 1))
    return f"cases in the ledger's order\n{tens}\n{units}"


def _totals(audit: Audit, ascii_only: bool) -> Table:
    """Organs as rows, how many cases have each coverage."""
    table = _table(f"Coverage of {len(audit.cases)} cases")
    table.add_column("organ", no_wrap=True)
    for status in Coverage:
        table.add_column(Text.assemble(_mark(status, ascii_only), f" {status.value}"), justify="right", no_wrap=True)
    table.add_column("missing", justify="right", no_wrap=True)
    for organ, column in zip(audit.organs, zip(*audit.coverage, strict=True), strict=True):
        counts = Counter(column)
        numbers = [str(counts[status] or "-") for status in Coverage]
        table.add_row(_title(audit, organ), *numbers, f"{100 * audit.alpha(organ):.0f} %")
    return table


def _mark(status: Coverage, ascii_only: bool) -> Text:
    symbol, letter, style = _MARKS[status]
    return Text(letter if ascii_only else symbol, style=style)


def _legend(audit: Audit, ascii_only: bool) -> Text:
    used = {status for row in audit.coverage for status in row}
    parts = [
        Text.assemble(_mark(status, ascii_only), (f" {status.value}", "dim")) for status in Coverage if status in used
    ]
    return Text("   ").join(parts)


def _evidence(audit: Audit) -> Table:
    """Per organ, what a loss is told at how many voxels."""
    voxels = audit.voxels
    proposed = any(codes[Code.PSEUDO] for codes in voxels.values())
    table = _table("What the loss will see, in voxels of all readable cases")
    table.add_column("organ", no_wrap=True)
    headings = ["positive", "", "negative", "excluded", "implied", *(["proposed"] if proposed else []), "unknown"]
    for heading in (*headings, "wrong negatives\nof a baseline"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for organ, codes in voxels.items():
        total = sum(codes.values())
        shares = [Code.NEGATIVE, Code.EXCLUDED, Code.IMPLIED, *([Code.PSEUDO] if proposed else []), Code.UNKNOWN]
        cells = [human(codes[Code.POSITIVE]), *(percent(codes[code], total) for code in (Code.POSITIVE, *shares))]
        lost = audit.expected_false_negatives(organ)
        cells = ["-" if cell in ("0", "0 %") else cell for cell in (*cells, human(lost))]
        table.add_row(_title(audit, organ), *cells[:-1], Text(cells[-1], style="red" if lost else ""))
    return table


def _explanation(audit: Audit) -> str:
    text = (
        "excluded: another organ was drawn here, or its whole is not here. implied: a part of it was "
        "drawn here. unknown: ignored by SMILE, background for a usual baseline, which "
        "so learns about as many wrong negatives as the last column says."
    )
    if any(codes[Code.PSEUDO] for codes in audit.voxels.values()):
        text += " proposed: by a model (auto:), not learned from until an expert accepts it."
    return text


def _title(audit: Audit, organ: str) -> Text:
    title = plain(audit.titles[organ])
    return Text(title if len(title) <= 26 else f"{title[:23]}...")


def _print_list(console: Console, noun: str, items: Sequence[str], style: str, most: int) -> None:
    if not items:
        return
    console.print(Text(f"\n{len(items)} {noun}{'s' * (len(items) != 1)}", style=f"bold {style}"))
    table = Table.grid(padding=(0, 1))
    for item in items[:most]:
        table.add_row(Text("-", style=style), Text(plain(item), overflow="fold"))
    console.print(table)
    if len(items) > most:
        console.print(Text(f"  and {len(items) - most} more: --json lists them all", style="dim"))
