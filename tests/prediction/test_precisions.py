"""Every method, rule, network and precision on organs within organs: what leaves a network is float32."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from small_networks import parameters, smallest

from smiler.curriculum.relabel import accept, opinions_for
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Fields
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.losses import build_loss
from smiler.networks import build
from smiler.networks.device import make_fabric
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.prediction.scores import Opinions, Prediction, predict_working, slice_scores
from smiler.recipe.recipe import METHODS, Recipe, load_recipe
from smiler.sampling.augment import Normalisation
from smiler.selection import RULES, need_of
from smiler.selection.propose import Selection
from smiler.store.options import DataOptions

ORGANS = OrganSet((Organ("liver"), Organ("liver_tumor", part_of="liver"), Organ("spleen")))
IMAGE = np.random.default_rng(0).integers(-160, 240, (2, 32, 32)).astype(np.int16)
GRID = Geometry.canonical(IMAGE.shape, (5.0, 1.0, 1.0))
OPEN = Fields(*np.zeros((3, *IMAGE.shape), np.int32))
PASSES, GAMMA = 3, 0.5
PRECISIONS = ("32", "bf16")
COVERING = ("smiler-confidence", "smiler-ensemble")
"""These two ask for every kind of opinion, of a softmax over nested organs: the larger networks have them alone."""


def distinct() -> Iterator[tuple[str, Recipe]]:
    """Of the methods that predict alike one."""
    seen = set()
    for method in METHODS:
        recipe = load_recipe(method)
        alike = (recipe.loss.name, recipe.loss.confidence, recipe.network.separate, recipe.network.members > 1)
        if alike not in seen:
            seen.add(alike)
            yield method, recipe


RECIPES = dict(distinct())
PAIRS = [
    pytest.param(method, *network.values, marks=network.marks)
    for method in RECIPES
    for network in (parameters() if method in COVERING else parameters("unet"))
]


@cache
def untrained(method: str, network: str, precision: str) -> Model:
    """A network of the method with fixed weights, which finds each organ in about half of the image."""
    recipe = RECIPES[method]
    alike = recipe.network.model_dump(exclude={"name", "width", "levels", "members"})
    options = smallest(network, **alike, members=min(recipe.network.members, 2))
    window = (max(16, options.stride), 32, 32) if options.axes == 3 else None
    facts = ModelFacts(ORGANS, options, recipe.loss, DataOptions(), Normalisation(0.0, 100.0, -160.0), window)
    torch.manual_seed(0)
    built = build(options, build_loss(recipe.loss, ORGANS).outputs)
    return as_model(facts, built, make_fabric("cpu", precision, options.axes), "test")


def predicted(model: Model, opinions: Opinions | None) -> Prediction:
    return predict_working(model, IMAGE, GRID, (0, 1, 2), opinions=opinions)


def rules(method: str) -> list[str]:
    """Those that the method's network can serve."""
    able = {None, "dropout"}
    able |= {"members"} if RECIPES[method].network.members > 1 else set()
    able |= {"confidence"} if RECIPES[method].loss.confidence else set()
    return [rule for rule in RULES if need_of(rule) in able]


def test_every_rule_is_served_by_some_method() -> None:
    assert {rule for method in RECIPES for rule in rules(method)} == set(RULES)


@pytest.mark.parametrize(("method", "network"), PAIRS)
def test_every_rule_accepts_its_share_in_every_precision(method: str, network: str) -> None:
    torch.set_num_threads(1)
    for rule in rules(method):
        exact, rough = (predicted(untrained(method, network, kind), opinions_for(rule, PASSES)) for kind in PRECISIONS)
        for name in ("score", "mean", "spread", "confidence"):
            told, again = getattr(exact, name), getattr(rough, name)
            assert (told is None) == (again is None)
            if told is not None:
                scale = max(1.0, float(np.abs(told).max()))
                np.testing.assert_allclose(again, told, atol=0.05 * scale, err_msg=f"{rule}: {name}")
        for prediction in (exact, rough):
            found = prediction.score > 0
            assert found.any(), rule
            limits = Selection(GAMMA)
            accepted = accept(prediction, OPEN, ORGANS, rule, limits) >> np.arange(3)[:, None, None, None] & 1
            assert accepted.any(), rule
            assert not (accepted.astype(bool) & ~found).any()
            assert not (accepted[2] & (accepted[0] | accepted[1])).any()  # a spleen is no liver


@pytest.mark.parametrize("kind", ["shifts", "votes"])
@pytest.mark.parametrize("method", RECIPES)
def test_what_no_rule_asks_for_is_told_in_every_precision(method: str, kind: str) -> None:
    exact, rough = (predicted(untrained(method, "unet", each), Opinions(kind, PASSES)) for each in PRECISIONS)  # type: ignore[arg-type]
    assert exact.mean is not None
    assert rough.mean is not None
    if kind == "votes":
        assert set(np.unique(np.round(rough.mean.astype(np.float32) * PASSES, 2))) <= {0.0, 1.0, 2.0, 3.0}
    assert np.abs(exact.mean.astype(np.float32) - rough.mean).mean() < 0.05


@pytest.mark.parametrize("network", ["unet", "unet3d"])
def test_neither_precision_nor_inference_mode_reaches_whoever_reads_scores(network: str) -> None:
    model = untrained("smiler", network, "bf16")
    for said in slice_scores(model, IMAGE, 0, len(IMAGE), 2, Opinions("dropout", PASSES)):
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.is_inference_mode_enabled()
        assert {part.dtype for part in (said.score, said.mean, said.spread)} == {np.dtype(np.float32)}


def test_onnx_computes_in_float32_beside_a_head_in_bf16() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    exact, rough = (untrained("smiler", "unet", kind) for kind in PRECISIONS)
    told, again = predicted(exact, None), predicted(replace(rough, engine="onnx"), None)
    np.testing.assert_allclose(again.score, told.score, atol=0.02)


def test_a_cpu_is_not_asked_for_float16() -> None:
    told = r"training\.precision: a CPU can't train in float16; got 16; do: take bf16, 32 or auto"
    with pytest.raises(BadInput, match=told):
        make_fabric("cpu", "16")
