"""Organs merge by name: what a source may call an organ, the user's own table, the table of organs, label tables."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.errors import BadInput, Faults
from smiler.domain.organs import OrganSet
from smiler.formats.anatomy import ANATOMY, SPARE_COLOURS, organ_of
from smiler.formats.numbering import LABEL_TABLES, by_name, label_table
from smiler.formats.synonyms import load_synonyms, slug_of

NAMES = load_synonyms()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Liver", "liver"),
        ("Kidney Right", "kidney_right"),
        ("right_kidney", "kidney_right"),
        ("kidney_right", "kidney_right"),
        ("kidney-R", "kidney_right"),
        ("LK", "kidney_left"),
        ("left kidney", "kidney_left"),
        ("kidneys", "kidney"),
        ("oesophagus", "esophagus"),
        ("gall bladder", "gallbladder"),
        ("portal_vein_and_splenic_vein", "portal_vein_and_splenic_vein"),
        ("Portal and splenic veins", "portal_vein_and_splenic_vein"),
        ("liver tumour", "liver_tumor"),
        ("hepatic_tumor", "liver_tumor"),
        ("liver_cancer", "liver_tumor"),
        ("adrenal_gland_left", "adrenal_left"),
        ("Right Adrenal Gland", "adrenal_right"),
        ("left_kidney_cyst", "kidney_cyst_left"),
        ("postcava", "inferior_vena_cava"),
        ("colon cancer primaries", "colon_tumor"),
        ("Bladder", "urinary_bladder"),
        ("Celiac  Trunk (AA)", "celiac_trunk_aa"),
        ("left_atrium", "left_atrium"),
        ("<script>", "script"),
    ],
)
def test_a_name_becomes_its_organ(name: str, key: str) -> None:
    assert NAMES.key(name) == key


@pytest.mark.parametrize("name", ["tumor", "Cancer", "lesions", "cyst"])
def test_a_tumour_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="doesn't say of which organ") as caught:
        NAMES.key(name)
    assert f'--synonyms, as in liver_tumor = ["{slug_of(name)}"]' in caught.value.do


@pytest.mark.parametrize("name", ["image", "patient", "3rd ventricle", "", "***", "肝脏", "Œsophage"])
def test_a_name_that_can_be_no_column_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="not a usable organ key"):
        NAMES.key(name)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=30))
def test_any_name_gives_a_key_or_a_refusal_and_is_stable(name: str) -> None:
    try:
        key = NAMES.key(name)
    except BadInput:
        return
    assert NAMES.key(key) == key


@pytest.mark.parametrize("key", ANATOMY)
def test_left_and_right_stay_apart(key: str) -> None:
    if key.endswith("_left"):
        base = key.removesuffix("_left")
        assert {NAMES.key(f"left {base}"), NAMES.key(f"{base} left")} == {key}
        assert {NAMES.key(f"right {base}"), NAMES.key(f"{base} right")} == {f"{base}_right"}


def test_the_users_table_goes_before_the_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('liver_with_tumor = ["Liver"]\nlung_tumor = ["cancer"]\nliver_organ = ["肝脏"]\n', encoding="utf-8")
    names = load_synonyms(own)
    assert names.key("liver") == "liver_with_tumor"
    assert names.key("Cancer") == "lung_tumor"
    assert names.key("肝脏") == "liver_organ"
    assert names.key("oesophagus") == "esophagus"


def test_a_bad_table_is_refused_with_every_fault(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('a = ["x"]\nb = ["X"]\nc = "y"\nImage = []\n')
    with pytest.raises(Faults) as caught:
        load_synonyms(own)
    text = str(caught.value)
    assert "one name for two organs; got x: a, b" in text
    assert 'c: not a list of names; do: write c = ["name", ...]' in text
    assert "not a usable organ key; got 'Image'" in text
    own.write_text("a = [")
    with pytest.raises(BadInput, match="the synonyms can't be read"):
        load_synonyms(own)


def test_the_table_of_organs_is_sound() -> None:
    assert set(ANATOMY) == {NAMES.key(key) for key in ANATOMY}
    assert set(ANATOMY) <= set(NAMES.keys.values())
    colours = [organ.colour for organ in ANATOMY.values()] + list(SPARE_COLOURS)
    assert len(set(colours)) == len(colours)
    assert all(organ.title and organ.part_of in (None, *ANATOMY) for organ in ANATOMY.values())
    assert all(organ.overlaps <= set(ANATOMY) for organ in ANATOMY.values())
    assert ANATOMY["liver_tumor"].part_of == "liver"
    assert ANATOMY["kidney_left"].snomed == ANATOMY["kidney_right"].snomed == "64033007"
    assert (ANATOMY["kidney_left"].title, ANATOMY["kidney_right"].title) == ("Left kidney", "Right kidney")


def test_relations_are_cut_to_the_organs_at_hand() -> None:
    among = ["kidney", "kidney_cyst_left"]
    assert organ_of("kidney_cyst_left", among).part_of == "kidney"
    assert organ_of("kidney_cyst_left", [*among, "kidney_left"]).part_of == "kidney_left"
    assert organ_of("liver_tumor", ["liver_tumor"]).part_of is None
    assert organ_of("kidney_tumor", ["kidney_left"]).overlaps == {"kidney_left"}
    assert organ_of("celiac_trunk", []).title == "Celiac trunk"
    OrganSet(tuple(organ_of(key, list(ANATOMY)[:31], i) for i, key in enumerate(list(ANATOMY)[:31])))


@pytest.mark.parametrize("name", LABEL_TABLES)
def test_label_tables_name_known_organs_once(name: str) -> None:
    table = LABEL_TABLES[name]
    assert set(table.values()) <= set(ANATOMY)
    assert len(set(table.values())) == len(table)
    assert label_table(name) == table


@pytest.mark.parametrize(
    ("name", "count", "anchors"),
    [
        ("totalsegmentator-v1", 104, {13: "lung_upper_lobe_left", 41: "vertebrae_C1", 81: "rib_right_12", 93: "face"}),
        ("totalsegmentator-v1", 104, {11: "adrenal_gland_right", 44: "heart_myocardium", 104: "urinary_bladder"}),
        ("totalsegmentator-v2", 117, {8: "adrenal_gland_right", 26: "vertebrae_S1", 61: "atrial_appendage_left"}),
        ("totalsegmentator-v2", 117, {79: "spinal_cord", 92: "rib_left_1", 115: "rib_right_12", 78: "hip_right"}),
        ("totalsegmentator-v2", 117, {51: "heart", 69: "humerus_left", 90: "brain", 117: "costal_cartilages"}),
        ("abdomenatlas-1.0", 9, {2: "gall_bladder", 7: "postcava", 9: "stomach"}),
        ("abdomenatlas-1.1", 25, {12: "bladder", 13: "celiac_truck", 19: "hepatic_vessel", 25: "rectum"}),
        ("btcv", 13, {10: "portal vein and splenic vein", 13: "left adrenal gland"}),
        ("amos", 15, {8: "arota", 9: "postcava", 15: "prostate/uterus"}),
        ("flare", 13, {2: "right kidney", 13: "left kidney"}),
        ("flare-2021", 4, {2: "kidney"}),
        ("word", 16, {12: "adrenal", 15: "Head_of_femur_L", 16: "Head_of_femur_R"}),
    ],
)
def test_label_tables_are_whole_and_their_authors_names_lead_to_our_organs(
    name: str, count: int, anchors: dict[int, str]
) -> None:
    assert sorted(LABEL_TABLES[name]) == list(range(1, count + 1))
    assert {number: LABEL_TABLES[name][number] for number in anchors} == {k: NAMES.key(v) for k, v in anchors.items()}


def test_lobes_lie_in_their_lung_and_bones_in_the_skeleton() -> None:
    assert ANATOMY["lung_upper_lobe_left"].part_of == "lung_left"
    assert ANATOMY["lung_middle_lobe_right"].part_of == "lung_right"
    assert ANATOMY["femoral_head_left"].part_of == "femur_left"
    assert organ_of("femoral_head_left", ["bone", "femoral_head_left"]).part_of == "bone"
    assert (ANATOMY["rib_7_left"].title, ANATOMY["rib_7_left"].snomed) == ("Left rib 7", "24915002")
    assert (ANATOMY["vertebrae_l5"].title, ANATOMY["vertebrae_l5"].snomed) == ("Vertebra L5", "49668003")
    assert organ_of("iliac_artery_left", ["artery", "iliac_artery_left"]).overlaps == {"artery"}


def test_a_label_table_from_text_or_file(tmp_path: Path) -> None:
    file = tmp_path / "table.toml"
    file.write_text('5 = "liver"\n1 = "spleen"\n')
    assert label_table("5=liver, 1=spleen") == label_table(str(file)) == {5: "liver", 1: "spleen"}
    assert by_name({2: "lung", 1: "lung", 3: "liver"}) == {"lung": (1, 2), "liver": (3,)}


@pytest.mark.parametrize("text", ["0=liver", "5=liver,5=spleen", "x=liver", "5=", "-1=liver", "²=liver"])
def test_a_bad_label_table_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--labels: not a label table"):
        label_table(text)


def test_an_unknown_label_table_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="totalsegmentator-v2") as caught:
        label_table("totalsegmentator")
    assert caught.value.what == "neither a label table nor a file"
    (tmp_path / "bad.toml").write_text("5 =")
    with pytest.raises(BadInput, match="not readable TOML"):
        label_table(str(tmp_path / "bad.toml"))
