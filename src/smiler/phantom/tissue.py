"""The tissues a voxel can be made of: what is painted first and turned into HU later."""

from enum import IntEnum


class Tissue(IntEnum):
    """One value per material with its own grey value; FREE is cavity that nothing claimed yet."""

    AIR = 0
    TABLE_FOAM = 1
    TABLE_SHELL = 2
    SKIN = 3
    FAT = 4
    MUSCLE = 5
    BONE_CORTEX = 6
    BONE_MARROW = 7
    DISC = 8
    CANAL = 9
    LUNG = 10
    HEART = 11
    FREE = 12
    ORGAN_FAT = 13
    ARTERY = 14
    VEIN = 15
    LIVER = 16
    LIVER_VESSEL = 17
    TUMOR = 18
    STOMACH_WALL = 19
    STOMACH_CONTENT = 20
    STOMACH_GAS = 21
    PANCREAS = 22
    SPLEEN = 23
    KIDNEY_CORTEX = 24
    KIDNEY_MEDULLA = 25
    GALLBLADDER = 26
    BOWEL_WALL = 27
    BOWEL_FLUID = 28
    BOWEL_CONTRAST = 29
    BOWEL_GAS = 30
    STOOL = 31
    OESOPHAGUS = 32
    URINE = 33
    ADRENAL = 34
