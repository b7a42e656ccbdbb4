"""What training minimises: readings turn evidence into targets, losses compare logits with targets."""

from collections.abc import Callable

from smiler.domain.organs import OrganSet
from smiler.losses.confidence import WithConfidence
from smiler.losses.options import LossOptions
from smiler.losses.sigmoid import BceDiceLoss, BceLoss, DiceLoss
from smiler.losses.softmax import SoftmaxDiceLoss, SoftmaxLoss
from smiler.losses.targets import Loss

LOSSES: dict[str, Callable[[LossOptions, OrganSet], Loss]] = {
    "bce": BceLoss.build,
    "dice": DiceLoss.build,
    "bce_dice": BceDiceLoss.build,
    "softmax": SoftmaxLoss.build,
    "softmax_dice": SoftmaxDiceLoss.build,
}


def build_loss(options: LossOptions, organs: OrganSet) -> Loss:
    """The loss that the options name, for these organs."""
    loss = LOSSES[options.name](options, organs)
    return WithConfidence(loss, len(organs)) if options.confidence else loss
