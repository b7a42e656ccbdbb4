"""The arms of a comparison: what each is trained on and by which method; all else is the same for all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One arm.

    `complete`: it sees every annotation, at any alpha. `of`: the arm whose network it uses, untrained. `at_zero`: the
    arm that is the very same training where nothing is missing, often itself; None: it is no arm there.
    """

    title: str
    method: str
    complete: bool = False
    of: str | None = None
    at_zero: str | None = None

    def changes(self, alpha: float) -> tuple[str, ...]:
        """What it changes of the method's recipe at a share alpha of missing annotations.

        An arm that uses another's network predicts from half the probability that the naive reading leaves of an
        organ: 0.5 (1 - alpha).
        """
        return (f"prediction.threshold={max(0.5 * (1 - alpha), 1e-4):g}",) if self.of else ()


ARMS: dict[str, Arm] = {
    "full": Arm("full annotation: the level to reach", "smile", complete=True, at_zero="full"),
    "baseline": Arm("a missing organ is background", "baseline", at_zero="baseline"),
    "baseline-rethreshold": Arm(
        "the baseline, its threshold lowered to 0.5 (1 - alpha)", "baseline", of="baseline", at_zero="baseline"
    ),
    "naive": Arm("SMILE's loss, a missing organ is background", "naive", at_zero="full"),
    "per-organ": Arm("a network an organ, on its annotated volumes", "per-organ", at_zero="per-organ"),
    "ignore-volume": Arm("an organ is learned on its annotated volumes only", "ignore-volume", at_zero="full"),
    "marginal": Arm("softmax, unannotated organs merged with background", "marginal", at_zero="baseline"),
    "marginal-dice": Arm("the marginal softmax with a Dice term", "marginal-dice", at_zero="marginal-dice"),
    "smile": Arm("what nobody knows is ignored", "smile", at_zero="full"),
    "smiler": Arm("marginal softmax with Dice, and audited rounds of relabelling", "smiler"),
    "smiler-faithful": Arm("SMILEr as the authors' code", "smiler-faithful"),
    "smiler-guarded": Arm("SMILEr that audits itself on hidden expert pairs", "smiler-guarded"),
    "smiler-mc": Arm("SMILEr, least dropout spread first", "smiler-mc"),
    "smiler-entropy": Arm("SMILEr, lowest entropy first", "smiler-entropy"),
    "smiler-ensemble": Arm("SMILEr, where three networks agree", "smiler-ensemble"),
    "smiler-confidence": Arm("SMILEr, by a learned confidence", "smiler-confidence"),
}
