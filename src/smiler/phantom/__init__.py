"""Synthetic abdominal CT with known organs: fake data for tests, tutorials and dry runs."""

from smiler.phantom.case import ORGANS, PhantomCase, PhantomOptions, PhantomOrgan
from smiler.phantom.generate import generate

__all__ = ["ORGANS", "PhantomCase", "PhantomOptions", "PhantomOrgan", "generate"]
