"""What `make bench` is held to: each figure's bound, in the words of the page."""

from dataclasses import dataclass
from enum import Enum

from benchmarks.runs import Run


class Verdict(Enum):
    """Of a figure against its bound."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Target:
    """A figure (`key` of an outcome's `group`) with a bound: at least it, or at most it."""

    group: str
    key: str
    title: str
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.told(self.bound)}"

    @property
    def digits(self) -> int:
        """So many after the point."""
        return 0 if self.unit else 4 if self.group == "agreement" else 3

    def told(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:,.{self.digits}f}{self.unit and ' ' + self.unit}"

    def verdict(self, run: Run) -> Verdict:
        """Whether a run meets it; what the run does not tell is not met."""
        value = run.value(self.group, self.key)
        if value is None:
            return Verdict.UNKNOWN
        return Verdict.MET if (value >= self.bound if self.at_least else value <= self.bound) else Verdict.MISSED


TARGETS = (
    Target("ratios", "train_unet", "U-Net: bare step over a training's step", 0.93, at_least=True),
    Target("ratios", "train_deeplab", "DeepLab: bare step over a training's step", 0.93, at_least=True),
    Target("ratios", "target_share_of_step", "Targets and loss, share of a U-Net's step", 0.05),
    Target("ratios", "predict_end_to_end", "Predicting 512x512x100, file to masks, over the network", 1.25),
    Target("ratios", "mc_dropout_10", "Ten Monte-Carlo passes over one", 1.5),
    Target("ratios", "relabel_over_predict", "Relabelling over predicting", 1.10),
    Target("peak_mb", "predict_512x512x100", "Peak memory, 512x512x100 over 1.5 mm", 2000, unit="MB"),
    Target("peak_mb", "predict_512x512x100_native", "Peak memory, 512x512x100 on its own grid", 2000, unit="MB"),
    Target("peak_mb", "predict_512x512x600", "Peak memory, 512x512x600 over 1.5 mm", 3000, unit="MB"),
    Target("agreement", "native", "Least Dice with the reference, own grid", 0.995, at_least=True),
    Target("agreement", "1.5mm", "Least Dice with the reference, 1.5 mm", 0.995, at_least=True),
    Target("agreement", "bf16", "Least Dice with the reference, 1.5 mm, bf16", 0.995, at_least=True),
)
