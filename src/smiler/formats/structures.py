"""Bones, lobes, muscles and vessels that whole-body data sets name: what a person reads, SNOMED CT code, place.

The codes are those of TotalSegmentator's table (Apache-2.0). Vertebrae, ribs and paired structures are written once.
"""

import colorsys
from collections.abc import Iterator

from smiler.domain.organs import Organ

_SINGLE = (
    ("heart_myocardium", "Myocardium", "74281007", "heart"),
    ("heart_atrium_left", "Left atrium", "82471001", "heart"),
    ("heart_atrium_right", "Right atrium", "73829009", "heart"),
    ("heart_ventricle_left", "Left ventricle", "87878005", "heart"),
    ("heart_ventricle_right", "Right ventricle", "53085002", "heart"),
    ("lung_middle_lobe_right", "Middle lobe of the right lung", "72481006", "lung_right"),
    ("trachea", "Trachea", "44567001", ""),
    ("thyroid_gland", "Thyroid gland", "69748006", ""),
    ("pulmonary_artery", "Pulmonary artery", "81040000", ""),
    ("pulmonary_vein", "Pulmonary vein", "122972007", ""),
    ("brachiocephalic_trunk", "Brachiocephalic trunk", "12691009", ""),
    ("celiac_trunk", "Celiac trunk", "", ""),
    ("superior_mesenteric_artery", "Superior mesenteric artery", "", ""),
    ("common_bile_duct", "Common bile duct", "", ""),
    ("pancreas_head", "Head of the pancreas", "", "pancreas"),
    ("pancreas_body", "Body of the pancreas", "", "pancreas"),
    ("pancreas_tail", "Tail of the pancreas", "", "pancreas"),
    ("pancreatic_duct", "Pancreatic duct", "", "pancreas"),
    ("sacrum", "Sacrum", "54735007", "bone"),
    ("skull", "Skull", "89546000", "bone"),
    ("sternum", "Sternum", "56873002", "bone"),
    ("costal_cartilages", "Costal cartilages", "50016007", ""),
    ("spinal_cord", "Spinal cord", "2748008", ""),
    ("face", "Face", "89545001", ""),
)
_PAIRED = (
    ("lung_upper_lobe", "Upper lobe of the {} lung", "45653009", "lung_{}"),
    ("lung_lower_lobe", "Lower lobe of the {} lung", "90572001", "lung_{}"),
    ("atrial_appendage", "{} atrial appendage", "68786006", "heart"),
    ("subclavian_artery", "{} subclavian artery", "29700009", ""),
    ("common_carotid_artery", "{} common carotid artery", "32062004", ""),
    ("brachiocephalic_vein", "{} brachiocephalic vein", "8887007", ""),
    ("iliac_artery", "{} common iliac artery", "73634005", ""),
    ("iliac_vena", "{} common iliac vein", "46027005", ""),
    ("humerus", "{} humerus", "85050009", "bone"),
    ("scapula", "{} scapula", "79601000", "bone"),
    ("clavicula", "{} clavicle", "51299004", "bone"),
    ("femur", "{} femur", "71341001", "bone"),
    ("hip", "{} hip bone", "29836001", "bone"),
    ("gluteus_maximus", "{} gluteus maximus", "181674001", ""),
    ("gluteus_medius", "{} gluteus medius", "78333006", ""),
    ("gluteus_minimus", "{} gluteus minimus", "75297007", ""),
    ("autochthon", "{} deep muscles of the back", "244849004", ""),
    ("iliopsoas", "{} iliopsoas", "68455001", ""),
)
_VERTEBRAE = {
    "c": "14806007 39976000 113205007 5329002 36978003 36054005 87391001",
    "t": "64864005 53733008 1626008 73071006 56401006 45296009 62487009 11068009 82687006 7610001 12989004 23215003",
    "l": "66794005 14293000 36470004 11994002 49668003",
    "s": "65985001",
}
_RIBS = "48535007 78247007 25888004 25523003 15339008 59558009 24915002 5953002 22565002 77644006 58830002 43993008"
_OVERLAPS = {
    "artery": "brachiocephalic_trunk celiac_trunk superior_mesenteric_artery subclavian_artery common_carotid_artery "
    "iliac_artery pulmonary_artery",
    "venous_system": "brachiocephalic_vein iliac_vena pulmonary_vein",
}
"""Systems of vessels that some data sets draw as one, with these in them."""


def structures() -> tuple[Organ, ...]:
    """All of them, each with a colour of its own."""
    rows = [*_SINGLE, *_sided(), *_numbered()]
    return tuple(_organ(number, *row) for number, row in enumerate(rows))


def _organ(number: int, key: str, title: str, snomed: str, part_of: str) -> Organ:
    base = key.removesuffix("_left").removesuffix("_right")
    overlaps = frozenset(system for system, vessels in _OVERLAPS.items() if base in vessels.split())
    return Organ(key, title, snomed, _colour(number), part_of or None, overlaps)


def _sided() -> Iterator[tuple[str, str, str, str]]:
    for key, title, snomed, part_of in _PAIRED:
        for side in ("left", "right"):
            text = title.format(side)
            yield f"{key}_{side}", text[0].upper() + text[1:], snomed, part_of.format(side)


def _numbered() -> Iterator[tuple[str, str, str, str]]:
    for region, codes in _VERTEBRAE.items():
        for number, snomed in enumerate(codes.split(), start=1):
            whole = "sacrum" if region == "s" else "bone"
            yield f"vertebrae_{region}{number}", f"Vertebra {region.upper()}{number}", snomed, whole
    for side in ("left", "right"):
        for number, snomed in enumerate(_RIBS.split(), start=1):
            yield f"rib_{number}_{side}", f"{side.capitalize()} rib {number}", snomed, "bone"


def _colour(number: int) -> str:
    """Hues a golden section apart, so that neighbours in a list look different."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, (0.45, 0.6, 0.75)[number % 3], 0.9 - number % 2 * 0.2)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
