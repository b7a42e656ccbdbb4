"""The organs that smiler knows: what a person reads, the SNOMED CT code, a colour, and where it lies.

A paired organ's two sides share one SNOMED CT code; the side is in the title. An organ that isn't listed here is
imported all the same, with a title made from its name and a colour from `SPARE_COLOURS`.
"""

from collections.abc import Collection
from dataclasses import replace

from smiler.domain.organs import Organ
from smiler.formats.structures import structures

NEOPLASM, CYST = "108369006", "367643001"


def _organ(key: str, title: str, snomed: str, colour: str, part_of: str = "", overlaps: str = "") -> Organ:
    return Organ(key, title, snomed, colour, part_of or None, frozenset(overlaps.split()))


_ALL = (
    _organ("liver", "Liver", "10200004", "#a5402d"),
    _organ("liver_tumor", "Liver tumour", NEOPLASM, "#f2d22e", "liver"),
    _organ("hepatic_vessel", "Hepatic vessels", "", "#5b7fd9", "", "liver portal_vein portal_vein_and_splenic_vein"),
    _organ("gallbladder", "Gallbladder", "28231008", "#4caf50"),
    _organ("pancreas", "Pancreas", "15776009", "#e8b04b"),
    _organ("pancreas_tumor", "Pancreas tumour", NEOPLASM, "#8e24aa", "pancreas"),
    _organ("spleen", "Spleen", "78961009", "#7b3f9d"),
    _organ("stomach", "Stomach", "69695003", "#f48fb1"),
    _organ("esophagus", "Oesophagus", "32849002", "#c49a6c"),
    _organ("duodenum", "Duodenum", "38848004", "#ff8a65"),
    _organ("intestine", "Intestine", "113276009", "#d7a98c", "", "small_bowel colon duodenum rectum"),
    _organ("small_bowel", "Small bowel", "30315005", "#ffcc80"),
    _organ("colon", "Colon", "71854001", "#8d6e63"),
    _organ("colon_tumor", "Colon tumour", NEOPLASM, "#d4e157", "colon"),
    _organ("rectum", "Rectum", "34402009", "#6d4c41"),
    _organ("kidney", "Kidneys", "64033007", "#1e88a8"),
    _organ("kidney_left", "Left kidney", "64033007", "#26a5c9", "kidney"),
    _organ("kidney_right", "Right kidney", "64033007", "#0d5f78", "kidney"),
    _organ("kidney_tumor", "Kidney tumour", NEOPLASM, "#fdd835", "kidney", "kidney_left kidney_right"),
    _organ("kidney_cyst", "Kidney cyst", CYST, "#b2ebf2", "kidney", "kidney_left kidney_right"),
    _organ("kidney_tumor_left", "Tumour of the left kidney", NEOPLASM, "#ffeb3b", "kidney_left"),
    _organ("kidney_tumor_right", "Tumour of the right kidney", NEOPLASM, "#fbc02d", "kidney_right"),
    _organ("kidney_cyst_left", "Cyst of the left kidney", CYST, "#80deea", "kidney_left"),
    _organ("kidney_cyst_right", "Cyst of the right kidney", CYST, "#4dd0e1", "kidney_right"),
    _organ("adrenal", "Adrenal glands", "23451007", "#c0ca33"),
    _organ("adrenal_left", "Left adrenal gland", "23451007", "#afb42b", "adrenal"),
    _organ("adrenal_right", "Right adrenal gland", "23451007", "#827717", "adrenal"),
    _organ("aorta", "Aorta", "15825003", "#e53935"),
    _organ("inferior_vena_cava", "Inferior vena cava", "64131007", "#1e66d0"),
    _organ("superior_vena_cava", "Superior vena cava", "48345005", "#64a0ff"),
    _organ("portal_vein_and_splenic_vein", "Portal vein and splenic vein", "110765007", "#3949ab"),
    _organ("portal_vein", "Portal vein", "32764006", "#5c6bc0", "portal_vein_and_splenic_vein", "liver"),
    _organ("splenic_vein", "Splenic vein", "35819009", "#7986cb", "portal_vein_and_splenic_vein"),
    _organ("artery", "Arteries", "51114001", "#ff5252", "", "aorta liver pancreas venous_system portal_vein"),
    _organ(
        "venous_system",
        "Veins",
        "",
        "#1565c0",
        "",
        "liver portal_vein splenic_vein portal_vein_and_splenic_vein hepatic_vessel inferior_vena_cava artery",
    ),
    _organ("femoral_head_left", "Left femoral head", "", "#bcaaa4", "femur_left"),
    _organ("femoral_head_right", "Right femoral head", "", "#a1887f", "femur_right"),
    _organ("bone", "Bones", "", "#efebe9"),
    _organ("brain", "Brain", "12738006", "#ce93d8"),
    _organ("urinary_bladder", "Urinary bladder", "89837001", "#ffe082"),
    _organ("prostate", "Prostate", "41216001", "#80cbc4", "prostate_uterus"),
    _organ("uterus", "Uterus", "35039007", "#f06292", "prostate_uterus"),
    _organ("prostate_uterus", "Prostate or uterus", "", "#b39ddb"),
    _organ("lung", "Lungs", "39607008", "#90a4ae"),
    _organ("lung_left", "Left lung", "39607008", "#b0bec5", "lung"),
    _organ("lung_right", "Right lung", "39607008", "#607d8b", "lung"),
    _organ("lung_tumor", "Lung tumour", NEOPLASM, "#ffb300", "lung", "lung_left lung_right"),
    _organ("heart", "Heart", "80891009", "#b71c1c"),
)
ANATOMY = {organ.key: organ for organ in (*_ALL, *structures())}
PIECES = {
    "kidney": ("kidney_left", "kidney_right"),
    "adrenal": ("adrenal_left", "adrenal_right"),
    "lung": ("lung_left", "lung_right"),
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "portal_vein_and_splenic_vein": ("portal_vein", "splenic_vein"),
    "prostate_uterus": ("prostate", "uterus"),
    "intestine": ("small_bowel", "colon", "duodenum", "rectum"),
}
"""Organs that some data sets draw as one and others in pieces."""
SPARE_COLOURS = ("#00acc1", "#7cb342", "#f4511e", "#5e35b1", "#d81b60", "#00897b", "#fb8c00", "#3e2723", "#546e7a")


def organ_of(key: str, among: Collection[str], number: int = 0) -> Organ:
    """The organ of that key, its relations cut down to the organs in `among`; `number` picks a spare colour.

    Where its whole isn't in `among`, it becomes part of the nearest whole that is.
    """
    known = ANATOMY.get(key)
    if known is None:
        return Organ(key, key.replace("_", " ").capitalize(), colour=SPARE_COLOURS[number % len(SPARE_COLOURS)])
    return replace(known, part_of=nearest_whole(key, among), overlaps=known.overlaps & frozenset(among))


def nearest_whole(key: str, among: Collection[str]) -> str | None:
    """The closest organ in `among` that anatomy says `key` is part of."""
    known = ANATOMY.get(key)
    while known is not None and known.part_of is not None:
        if known.part_of in among:
            return known.part_of
        known = ANATOMY.get(known.part_of)
    return None
