"""Label tables of published data sets: which number is which organ in their label maps.

TotalSegmentator's maps number 104 or 117 structures; only the abdominal organs are named here, the others are left out
of an import and listed in its notes. Another table is a TOML file (`5 = "liver"`) or text (`5=liver,1=spleen`).
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from smiler.domain.errors import BadInput

LABEL_TABLES: Mapping[str, Mapping[int, str]] = {
    "totalsegmentator-v1": {
        1: "spleen",
        2: "kidney_right",
        3: "kidney_left",
        4: "gallbladder",
        5: "liver",
        6: "stomach",
        7: "aorta",
        8: "inferior_vena_cava",
        9: "portal_vein_and_splenic_vein",
        10: "pancreas",
        11: "adrenal_right",
        12: "adrenal_left",
    },
    "totalsegmentator-v2": {
        1: "spleen",
        2: "kidney_right",
        3: "kidney_left",
        4: "gallbladder",
        5: "liver",
        6: "stomach",
        7: "pancreas",
        8: "adrenal_right",
        9: "adrenal_left",
        52: "aorta",
        63: "inferior_vena_cava",
        64: "portal_vein_and_splenic_vein",
    },
    "btcv": {
        1: "spleen",
        2: "kidney_right",
        3: "kidney_left",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "inferior_vena_cava",
        10: "portal_vein_and_splenic_vein",
        11: "pancreas",
        12: "adrenal_right",
        13: "adrenal_left",
    },
    "amos": {
        1: "spleen",
        2: "kidney_right",
        3: "kidney_left",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "inferior_vena_cava",
        10: "pancreas",
        11: "adrenal_right",
        12: "adrenal_left",
        13: "duodenum",
        14: "urinary_bladder",
        15: "prostate_uterus",
    },
    "flare": {
        1: "liver",
        2: "kidney_right",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "inferior_vena_cava",
        7: "adrenal_right",
        8: "adrenal_left",
        9: "gallbladder",
        10: "esophagus",
        11: "stomach",
        12: "duodenum",
        13: "kidney_left",
    },
    "word": {
        1: "liver",
        2: "spleen",
        3: "kidney_left",
        4: "kidney_right",
        5: "stomach",
        6: "gallbladder",
        7: "esophagus",
        8: "pancreas",
        9: "duodenum",
        10: "colon",
        11: "intestine",
        12: "adrenal",
        13: "rectum",
        14: "urinary_bladder",
        15: "femoral_head_left",
        16: "femoral_head_right",
    },
}


def label_table(text: str) -> dict[int, str]:
    """A label table out of what a user typed: a name of LABEL_TABLES, a TOML file, or `5=liver,1=spleen`."""
    if text in LABEL_TABLES:
        return dict(LABEL_TABLES[text])
    if "=" in text:
        pairs = [part.partition("=") for part in text.split(",")]
        return checked_table([(number.strip(), name.strip()) for number, _, name in pairs], "--labels")
    path = Path(text)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        known = ", ".join(LABEL_TABLES)
        raise BadInput(
            "neither a label table nor a file",
            where="--labels",
            got=repr(text),
            do=f'use {known}, a TOML file with lines such as 5 = "liver", or 5=liver,1=spleen',
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("the file is not readable TOML", where=str(path), got=str(error)) from error
    return checked_table(list(table.items()), str(path))


def checked_table(pairs: list[tuple[str, object]], where: str) -> dict[int, str]:
    """Number -> organ; BadInput unless every number is a positive whole number used once and every name a text."""
    table: dict[int, str] = {}
    for number, name in pairs:
        value = int(number) if number.isascii() and number.isdigit() else 0
        if value < 1 or value in table or not isinstance(name, str) or not name:
            raise BadInput(
                "not a label table",
                where=where,
                got=f"{number!r} = {name!r}",
                do="give each label number (1 or more) once, with the organ's name",
            )
        table[value] = name
    return table


def by_name(numbers: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Organ -> its labels: numbers under one name are one organ."""
    organs: dict[str, tuple[int, ...]] = {}
    for number, name in sorted(numbers.items()):
        organs[name] = (*organs.get(name, ()), number)
    return organs
