"""The average of a network's weights over the last steps: what a checkpoint predicts with.

Polyak and Juditsky 1992; the exponential form with a decay that grows from zero is that of Tarvainen and Valpola 2017
(arXiv:1703.01780).
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from smiler.networks.checkpoint import Checkpoint, load_weights

LAST = "last"
"""The checkpoint's part with the weights that training goes on from; its part `model` holds the average."""


class WeightAverage:
    """Exponential moving average of all weights and running statistics of a network.

    `share`: how far it looks back, as a share of the training's `steps`. Early on it looks back a tenth of the steps
    done, so that the random initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, share: float, steps: int) -> None:
        self.network, self.longest = network, max(0.0, 1 - 1 / max(1.0, share * steps))
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, step: int) -> None:
        """Take in the weights after so many steps of the whole training."""
        decay = min(self.longest, (1 + step) / (10 + step))
        now = self.network.state_dict()
        moving = [name for name, value in now.items() if value.is_floating_point()]
        into, new = [self.weights[name] for name in moving], [now[name] for name in moving]
        get_ema_multi_avg_fn(decay)(into, new, None)  # type: ignore[no-untyped-call]
        for name in now.keys() - set(moving):
            self.weights[name].copy_(now[name])

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: its average here, the weights behind it in the network."""
        load_weights(self.network, checkpoint)
        self.weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if LAST in checkpoint.files:
            load_weights(self.network, checkpoint, LAST)

    def parts(self, *, unfinished: bool) -> dict[str, Mapping[str, Tensor]]:
        """What a checkpoint holds of the weights."""
        return {"model": self.weights} | ({LAST: self.network.state_dict()} if unfinished else {})

    def apply(self) -> None:
        """Put the average into the network."""
        self.network.load_state_dict(self.weights)
