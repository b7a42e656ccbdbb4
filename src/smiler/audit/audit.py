"""The audit of a cohort: coverage, what the loss will see of each organ, and every fault of every case at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from smiler.audit.case import AuditOptions, CaseAudit, Coverage, audit_case, coverage_of
from smiler.audit.plausible import implausible
from smiler.domain.cohort import LEDGER, Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Code
from smiler.domain.progress import Progress, Silent
from smiler.formats.duplicates import duplicates, told
from smiler.workers.base import Workers
from smiler.workers.memory import lacking
from smiler.workers.threads import Threads

__all__ = ["Audit", "AuditOptions", "Coverage", "audit_cohort"]
USUAL = Threads(2)


@dataclass(frozen=True)
class Audit:
    """What the audit found. titles: organ key -> title, in channel order; case_audits: in the ledger's order.

    faults: what must be mended, each naming case, organ and file; notes: what a person should look at.
    """

    titles: Mapping[str, str]
    case_audits: tuple[CaseAudit, ...]
    faults: tuple[BadInput, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended."""
        return not self.faults

    @property
    def cases(self) -> tuple[str, ...]:
        """Case ids in the ledger's order."""
        return tuple(case.id for case in self.case_audits)

    @property
    def organs(self) -> tuple[str, ...]:
        """Organ keys in channel order."""
        return tuple(self.titles)

    @property
    def coverage(self) -> tuple[tuple[Coverage, ...], ...]:
        """One row per case, one entry per organ."""
        return tuple(tuple(case.coverage[organ] for organ in self.organs) for case in self.case_audits)

    @property
    def voxels(self) -> dict[str, dict[Code, int]]:
        """Per organ, how many voxels of all readable cases have each evidence code: what the loss will see."""
        readable = [case.counts for case in self.case_audits if case.counts]
        return {
            organ: {code: sum(counts[organ].codes[code] for counts in readable) for code in Code}
            for organ in self.organs
        }

    @property
    def volumes_ml(self) -> dict[tuple[str, str], float]:
        """(case, organ) -> ml where the organ is annotated on all slices and the case is readable."""
        return {
            (case.id, organ): count.volume_ml
            for case in self.case_audits
            for organ, count in case.counts.items()
            if case.coverage[organ] is Coverage.ANNOTATED
        }

    def alpha(self, organ: str) -> float:
        """Share of the cases in which no expert looked for the organ."""
        missing = [case.coverage[organ].missing for case in self.case_audits]
        return sum(missing) / len(missing) if missing else 0.0

    def expected_false_negatives(self, organ: str) -> int:
        """Voxels that the usual baseline would read as background although the organ is there, an estimate.

        Mean drawn voxels per case in which the organ is annotated (on all slices, if it is in any), times the cases in
        which no expert looked.
        """
        whole = self._drawn(organ, Coverage.ANNOTATED) or self._drawn(organ, Coverage.PARTIAL)
        missing = sum(case.coverage[organ].missing for case in self.case_audits)
        return round(fmean(whole) * missing) if whole else 0

    def _drawn(self, organ: str, coverage: Coverage) -> list[int]:
        return [c.counts[organ].drawn for c in self.case_audits if c.counts and c.coverage[organ] is coverage]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        volumes = self.volumes_ml
        return {
            "cases": list(self.cases),
            "organs": list(self.organs),
            "titles": dict(self.titles),
            "coverage": [[status.value for status in row] for row in self.coverage],
            "alpha": {organ: self.alpha(organ) for organ in self.organs},
            "voxels": {
                organ: {code.name.lower(): codes[code] for code in _JSON_CODES} for organ, codes in self.voxels.items()
            },
            "expected_false_negatives": {organ: self.expected_false_negatives(organ) for organ in self.organs},
            "volumes_ml": {
                organ: {case: volumes[case, organ] for case in self.cases if (case, organ) in volumes}
                for organ in self.organs
            },
            "faults": [str(fault) for fault in self.faults],
            "notes": list(self.notes),
        }


_JSON_CODES = (Code.POSITIVE, Code.NEGATIVE, Code.EXCLUDED, Code.IMPLIED, Code.PSEUDO, Code.UNKNOWN)


@dataclass(frozen=True)
class AuditCase:
    """Audit one case: the work of `audit_cohort`."""

    cohort: Cohort
    options: AuditOptions

    def __call__(self, case: Case) -> CaseAudit:
        """What was found in it."""
        try:
            with lacking(self.where(case)):
                return audit_case(self.cohort, case, self.options)
        except BadInput as error:  # other cases may need less
            return CaseAudit(case.id, coverage_of(self.cohort, case), faults=(error,))

    def where(self, case: Case) -> str:
        """How an error names it."""
        return f"case {case.id}, file {case.image}"


def audit_cohort(
    cohort: Cohort,
    options: AuditOptions | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Audit:
    """Check every case of a cohort, two at a time; a faulty case never hides the faults of the next."""
    results = (workers or USUAL).map(AuditCase(cohort, options or AuditOptions()), cohort.cases)
    cases = tuple((progress or Silent()).track(results, "auditing", len(cohort)))
    titles = {organ.key: organ.title or organ.key for organ in cohort.organs}
    faults = [fault for case in cases for fault in case.faults]
    if not cases:
        where = str(cohort.folder / LEDGER)
        faults.append(BadInput("the cohort has no case", where=where, do="smiler import SOURCE COHORT"))
    notes = [note for case in cases for note in case.notes]
    geometries = {case.id: case.geometry for case in cases if case.geometry}
    reading = (options or AuditOptions()).reading
    same = [told(cohort, group) for group in duplicates(cohort, geometries, reading)]
    found = (*_gaps(cases, cohort), *same, *implausible(cases, cohort.organs.keys), *notes)
    return Audit(titles, cases, tuple(faults), found)


def _gaps(cases: tuple[CaseAudit, ...], cohort: Cohort) -> Iterator[str]:
    """Organs and cases from which nothing can be learned."""
    drawn = (Coverage.ANNOTATED, Coverage.PARTIAL)
    for organ in cohort.organs.keys:
        if cases and not any(case.coverage[organ] in drawn for case in cases):
            yield f"organ {organ}: annotated in no case, so that it can't be learned"
    silent = [case.id for case in cases if all(status.missing for status in case.coverage.values())]
    if silent:
        shown = ", ".join(silent[:8]) + (" ..." if len(silent) > 8 else "")
        yield f"no expert has looked for any organ in {len(silent)} of {len(cases)} cases: {shown}"
