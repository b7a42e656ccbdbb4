"""A network that is only used: each BatchNorm taken into the convolution before it."""

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from smiler.networks.base import SegmentationNet


def folded(network: SegmentationNet) -> SegmentationNet:
    """A copy in eval mode that says the same up to rounding, without its passes over features to normalise them.

    Every network here calls a BatchNorm on what the convolution registered right before it gives, and on nothing else.
    Norms over one image (instance, group and layer norms) depend on it and stay as they are.
    """
    copy = deepcopy(network).eval()
    layers = [(name, layer) for name, layer in copy.named_modules() if not list(layer.children())]
    for (before, convolution), (name, norm) in pairwise(layers):
        if isinstance(norm, _BatchNorm):
            put_layer(copy, before, fuse_conv_bn_eval(convolution, norm))
            put_layer(copy, name, nn.Identity())
    return copy


def put_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one that has this name in the network's tree; AttributeError if there is none."""
    network.get_submodule(name)
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, layer)
