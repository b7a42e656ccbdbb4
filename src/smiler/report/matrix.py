"""The coverage matrix as a picture file: organs as rows, cases as columns, for documents and slides."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from smiler.domain.files import replacing
from smiler.report.figures import shortened
from smiler.report.inputs import Audit, Coverage

COLOURS: Mapping[Coverage, str] = {
    Coverage.ANNOTATED: "#2f6f9f",
    Coverage.PARTIAL: "#8fbfdc",
    Coverage.ABSENT: "#6d6d6d",
    Coverage.AUTO: "#e0a33a",
    Coverage.UNANNOTATED: "#eeeeee",
}
MOST_NAMED = 60
WIDEST_INCHES = 14.0


def save_matrix(audit: Audit, path: Path) -> None:
    """Write the matrix as PNG; cases are named where there are few enough to read."""
    order = list(COLOURS)
    table = np.array([[order.index(status) for status in row] for row in audit.coverage]).T
    named = len(audit.cases) <= MOST_NAMED
    width = min(WIDEST_INCHES, 3.0 + 0.3 * len(audit.cases))
    names = [shortened(case, 20) for case in audit.cases] if named else []
    tall = 1.1 + 0.26 * len(audit.organs) + (0.075 * max(map(len, names), default=0) if named else 0.3)
    with matplotlib.rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(max(width, 6.0), tall), layout="constrained")
        axes = figure.add_subplot()
        cells = ListedColormap([COLOURS[status] for status in order])
        axes.pcolormesh(table, cmap=cells, vmin=-0.5, vmax=len(order) - 0.5, edgecolors="white", linewidth=int(named))
        axes.invert_yaxis()
        titles = [f"{audit.titles.get(key, key)}  {audit.alpha.get(key, 0):.0%} missing" for key in audit.organs]
        axes.set_yticks(np.arange(len(titles)) + 0.5, titles)
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)
        axes.set_xlabel("" if named else f"{len(audit.cases)} cases in the ledger's order")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        used = {status for row in audit.coverage for status in row}
        keys = [Patch(facecolor=COLOURS[status], label=status.value) for status in order if status in used]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False)
        with replacing(path, ".png") as temporary:
            figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
