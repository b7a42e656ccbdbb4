"""The anatomy that the phantom imitates: measured on 18 portal-venous abdominal CT volumes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One organ over 18 patients: mean and standard deviation (sd) over patients.

    x, y: centroid in the body's bounding box, 0 = patient right / anterior, 1 = left / posterior.
    share: percent of the voxels of volumes that reach from the chest to the pelvis.
    """

    volume_ml: float
    volume_sd_ml: float
    hu: float
    hu_sd: float
    hu_inside_sd: float
    x: float
    y: float
    share: float


# The spleen's volume and its sd are the usual adult values: one of the 18 spleens had 3 litres.
REFERENCE: dict[str, Reference] = {
    "liver": Reference(1838, 386, 89, 30, 12, 0.33, 0.42, 2.51),
    "stomach": Reference(447, 248, 49, 61, 80, 0.62, 0.36, 0.59),
    "pancreas": Reference(84, 19, 76, 32, 16, 0.54, 0.41, 0.11),
    "spleen": Reference(250, 90, 104, 29, 11, 0.77, 0.62, 0.51),
    "kidney_right": Reference(170, 38, 124, 50, 26, 0.32, 0.60, 0.23),
    "kidney_left": Reference(171, 47, 122, 52, 26, 0.70, 0.61, 0.23),
    "gallbladder": Reference(32, 21, 32, 35, 19, 0.33, 0.34, 0.05),
    "aorta": Reference(118, 58, 149, 47, 18, 0.54, 0.53, 0.16),
}
