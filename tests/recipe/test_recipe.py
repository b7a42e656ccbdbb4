"""Recipes: what is shipped loads, what is resolved comes back, what is wrong is met with the nearest that is right."""

import random
import typing
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import pytest
import tomli_w
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from smiler.domain.errors import BadInput, Faults, SmilerError
from smiler.domain.registry import NameIn
from smiler.networks import NETWORKS, NetworkOptions
from smiler.recipe.recipe import METHODS, Recipe, load_recipe, parse_change, read_recipe
from smiler.sampling.options import SamplingOptions


def refused(*changes: str, path: Path | None = None) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_recipe("smile", path, changes)
    faults = caught.value.faults if isinstance(caught.value, Faults) else (caught.value,)
    return [str(fault) for fault in faults]


# --- what is shipped


@pytest.mark.parametrize("method", METHODS)
def test_every_shipped_method_loads_and_its_resolved_recipe_comes_back(tmp_path: Path, method: str) -> None:
    recipe = load_recipe(method)
    assert recipe.method == method
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert load_recipe("smiler", tmp_path / "recipe.toml") == recipe


def test_methods_differ_in_what_they_say() -> None:
    assert load_recipe("baseline").loss.reading == "naive"
    assert load_recipe("smile").curriculum.rounds == 0
    assert load_recipe("smiler").curriculum.rounds > 0
    assert load_recipe("smiler-faithful").curriculum.keep == "union"
    assert len({load_recipe(method).model_copy(update={"method": ""}).to_toml() for method in METHODS}) == len(METHODS)


# --- round trips of options that are not the defaults


def between(kind: type, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Numbers that a field's own limits allow."""
    low = max([m.ge for m in metadata if isinstance(m, Ge)] + [m.gt for m in metadata if isinstance(m, Gt)] or [0])
    high = min([m.le for m in metadata if isinstance(m, Le)] + [m.lt for m in metadata if isinstance(m, Lt)] or [1e6])
    step = next((m.multiple_of for m in metadata if isinstance(m, MultipleOf)), 1)
    if kind is int:
        first = low + step if any(isinstance(m, Gt) for m in metadata) else low
        return st.integers(-(-int(first) // step), (int(high) - 1) // step).map(lambda n: n * step)
    return st.floats(float(low), float(high), exclude_min=True, exclude_max=True, allow_subnormal=False)


def values_of(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    for mark in metadata:
        if isinstance(mark, NameIn):
            return st.sampled_from(list(mark.registry()))
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is typing.Annotated:
        limits = [m for item in args[1:] for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return values_of(args[0], limits)
    if origin in (typing.Union, UnionType):
        return st.one_of([values_of(arg, metadata) for arg in args])
    if annotation is NoneType:
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation in (int, float):
        return between(annotation, metadata)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return models(annotation)
    return st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


EXTRA: dict[str, st.SearchStrategy[Any]] = {
    "organs": st.lists(st.sampled_from(["liver", "spleen", "aorta"]), unique=True).map(tuple),
    "window_hu": st.tuples(st.integers(-1024, -1), st.integers(0, 3000)),
    "weights": st.none(),
    "method": st.sampled_from(list(METHODS)),
}


def models(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any model at all; what its parts forbid together is passed over."""
    fields = model.model_fields.items()
    any_values = st.fixed_dictionaries(
        {}, optional={n: EXTRA[n] if n in EXTRA else values_of(f.annotation, f.metadata) for n, f in fields}
    )
    return any_values.map(lambda chosen: made(model, chosen)).filter(lambda built: built is not None)


def made(model: type[BaseModel], chosen: dict[str, Any]) -> BaseModel | None:
    try:
        return model(**chosen)
    except ValidationError as error:
        if all(fault["type"] == "value_error" for fault in error.errors()):
            return None
        raise


@settings(derandomize=True, deadline=None, max_examples=120)
@given(models(Recipe))
def test_any_recipe_comes_back_from_its_toml(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "any-recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(path) == recipe


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["curriculum.rule=ensemble"], "needs network.members of at least 2"),
        (["curriculum.rule=confidence"], "needs loss.confidence = true"),
        (["network.separate=true", "loss.name=softmax"], "no softmax, no confidence"),
        (["network.separate=true", "loss.confidence=true"], "no softmax, no confidence"),
        (["network.separate=true", "network.members=2"], "separate networks have no members"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load_recipe("smile", None, changes)


def test_a_file_of_weights_survives_as_a_path(tmp_path: Path) -> None:
    recipe = load_recipe("smile", None, ["network.name=deeplab", "network.weights=/data/resnet18.pth"])
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml").network.weights == Path("/data/resnet18.pth")


# --- the order of layers


def test_the_users_file_goes_over_the_method_and_changes_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[training]\nsteps = 7\nseed = 3\n[loss]\nname = "bce"\n', encoding="utf-8-sig")
    recipe = load_recipe("smiler", path, ["training.steps=9", "training.steps=11"])
    assert (recipe.training.steps, recipe.training.seed, recipe.loss.name) == (11, 3, "bce")
    assert recipe.curriculum.rounds == load_recipe("smiler").curriculum.rounds


def test_a_3d_network_brings_defaults_that_any_wish_of_the_user_goes_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[network]\nname = "unet3d"\n[sampling]\npatch_size = 64\n', encoding="utf-8")
    recipe = load_recipe("smiler-ensemble", path, ["sampling.foreground=0.9"])
    assert recipe.sampling.box == (32, 64, 64)
    assert (recipe.sampling.batch_size, recipe.sampling.foreground, recipe.network.width) == (2, 0.9, 16)
    assert recipe.network.members == load_recipe("smiler-ensemble").network.members > 1
    assert load_recipe("smiler", path, ["network.name=unet"]).sampling.batch_size == SamplingOptions().batch_size
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize("name", [name for name in NETWORKS if NetworkOptions(name=name).axes == 3])
def test_every_3d_network_has_a_file_of_defaults(name: str) -> None:
    assert load_recipe("smile", None, [f"network.name={name}"]).sampling != SamplingOptions()


@pytest.mark.parametrize("network", ["5", "{name = 5}", "{name = [1]}", "unet3d"])
def test_a_network_that_is_no_table_is_refused_with_its_name(network: str) -> None:
    with pytest.raises(BadInput, match="network"):
        load_recipe("smile", None, [f"network={network}"])


def test_context_in_3d_is_one_clear_error() -> None:
    (fault,) = refused("network.name=unet3d", "network.context=1")
    assert "unet3d sees the neighbouring slices by itself: drop context" in fault


def test_a_file_that_names_its_method_begins_with_that_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('method = "baseline"\n[training]\nsteps = 7\n', encoding="utf-8")
    expected = load_recipe("baseline", None, ["training.steps=7"])
    assert load_recipe("smiler", path) == expected
    assert load_recipe("smiler", None, ["method=baseline", "training.steps=7"]) == expected
    path.write_text('method = "basline"\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"no such method; got 'basline'.*did you mean 'baseline'"):
        load_recipe("smiler", path)
    path.write_text("method = [1]\n", encoding="utf-8")
    with pytest.raises(BadInput, match="no such method"):
        load_recipe("smiler", path)


def test_an_unknown_method_is_met_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"no such method; got 'smilr'.*did you mean 'smiler'"):
        load_recipe("smilr")
    with pytest.raises(BadInput, match="choose among baseline, naive, smile, smiler"):
        load_recipe("xyz")


# --- what is wrong


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("training.step=5", "training.step: unknown option; got 'step'; do: did you mean 'steps'?"),
        ("trainign.steps=5", "trainign: unknown option; got 'trainign'; do: did you mean 'training'?"),
        ("sampling.augment.rotate=5", "did you mean 'rotate_deg'?"),
        ("labels.read.orientatoin=sform", "did you mean 'orientation'?"),
        ("training.qqqq=1", "choose among steps, learning_rate"),
        ("training.steps=many", "training.steps: Input should be a valid integer"),
        ("training.steps=1.5", "training.steps: Input should be a valid integer"),
        ("training.steps=0", "greater than or equal to 1; got 0"),
        ("training.learning_rate=0", "greater than 0; got 0"),
        ("training.learning_rate=nan", "training.learning_rate"),
        ("network.dropout=1.0", "less than 1; got 1.0"),
        ("network.width=4096", "less than or equal to 128; got 4096"),
        ("network.name=vnet", "'deeplab', 'unet', 'unet3d', 'segresnet', 'segresnet3d', 'dynunet'"),
        ("sampling.patch_size=100", "multiple of 32; got 100"),
        ("data.window_hu=[240, -160]", "window_hu is [low, high]"),
        ("data.window_hu=5", "data.window_hu"),
        ("data.spacing_xy_mm=0", "data.spacing_xy_mm"),
        ("organs=liver", "organs: "),
        ("training=5", "training: "),
        ("training.steps.more=5", "training.steps"),
        ("sampling.patch_depth=20", "multiple of 16; got 20"),
        ("network.weights=resnet.pth", "weights are read by the deeplab backbone only"),
        (".=1", "unknown option"),
    ],
)
def test_wrong_options_are_named_with_what_was_got(change: str, text: str) -> None:
    faults = refused(change)
    assert any(text in fault for fault in faults), faults
    assert all(fault.startswith("method smile: ") and "do: " in fault for fault in faults)


def test_all_faults_of_a_recipe_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[training]\nsteps = 0\nsede = 1\n[losses]\n[network]\nname = "vnet"\n', encoding="utf-8")
    faults = refused("sampling.foreground=2", path=path)
    wanted = ("training.steps", "training.sede", "losses", "network.name", "sampling.foreground")
    assert len(faults) == len(wanted)
    for name in wanted:
        assert any(fault.startswith(f"{path}: {name}: ") for fault in faults), name


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"training = {", "not readable TOML"),
        (b"\xff\xfe", "not readable TOML"),
        (b"[training]\nsteps = 1\nsteps = 2\n", "not readable TOML"),
        (b"x = " + b"[" * 20_000, "not readable TOML"),
    ],
)
def test_files_that_are_no_toml_are_refused(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    (fault,) = refused(path=path)
    assert text in fault
    assert fault.startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(path=tmp_path / "gone.toml") == [f"{tmp_path / 'gone.toml'}: the recipe does not exist"]


# --- --set


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("training.steps=500", {"training": {"steps": 500}}),
        (" training.steps = 500 ", {"training": {"steps": 500}}),
        ("sampling.augment.noise=0.1", {"sampling": {"augment": {"noise": 0.1}}}),
        ("loss.name=bce", {"loss": {"name": "bce"}}),
        ('loss.name="bce"', {"loss": {"name": "bce"}}),
        ("loss.positive_share=none", {"loss": {"positive_share": None}}),
        ("curriculum.warm_start=false", {"curriculum": {"warm_start": False}}),
        ('organs=["liver", "spleen"]', {"organs": ["liver", "spleen"]}),
        ("network.weights=/a=b.pth", {"network": {"weights": "/a=b.pth"}}),
        ("loss.name=", {"loss": {"name": ""}}),
    ],
)
def test_changes_are_read_as_toml_or_as_text(change: str, table: dict[str, Any]) -> None:
    assert parse_change(change) == table


@pytest.mark.parametrize("change", ["training.steps", "", "=5", " =5"])
def test_what_is_no_change_is_refused(change: str) -> None:
    with pytest.raises(BadInput, match=r"--set: not a change of the recipe.*write training\.steps=500"):
        parse_change(change)


@pytest.mark.parametrize("text", ["32", '"32"', "bf16"])
def test_precisions_are_names_even_where_they_look_like_numbers(text: str) -> None:
    assert load_recipe("smile", None, [f"training.precision={text}"]).training.precision == text.strip('"')


def test_none_unsets_an_option() -> None:
    recipe = load_recipe("smile", None, ["loss.positive_share=0.5", "loss.positive_share=none"])
    assert recipe.loss.positive_share is None
    assert "positive_share" not in recipe.to_toml()


# --- fuzz


def test_spoilt_recipes_give_a_recipe_or_our_errors(tmp_path: Path) -> None:
    path, draw = tmp_path / "recipe.toml", random.Random(17)
    whole = load_recipe("smiler").to_toml().encode()
    read = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for at in draw.sample(range(len(whole)), draw.randint(1, 3)):
            spoilt[at] = draw.choice(b'0123456789 _abet"=.#\n\x00\xff')
        path.write_bytes(spoilt)
        with suppress(SmilerError):
            read_recipe(path)
            read += 1
    assert 0 < read < 300


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["steps", "read", "augment", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "x"]), anything, max_size=4))
def test_any_table_gives_a_recipe_or_our_errors(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-table.toml"
    with suppress(TypeError):  # None has no TOML
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        with suppress(SmilerError):
            load_recipe("smile", path)
