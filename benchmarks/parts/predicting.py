"""From a .nii.gz of 512x512x100 to masks on disk, and completing a case, against the network alone."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.parts.painted import Subject
from benchmarks.parts.timing import in_turn
from smiler.domain.cells import Cell, Status
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import read_ct
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Opinions, slice_scores
from smiler.prediction.volume import mask_of, predict_bits
from smiler.verbs.predict import PredictRequest, predict
from smiler.verbs.relabel import RelabelRequest, relabel

BATCH = PredictionOptions().batch_size


def alone(subject: Subject) -> Callable[[], None]:
    """The network on slices that are already there."""
    shape = [-(-n // 16) * 16 for n in subject.image.shape[1:]]
    fabric, network, count = subject.model.fabric, subject.model.network.inner, len(subject.image)
    slices = torch.randn(BATCH, 1, *shape, device=fabric.device).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode(), fabric.autocast():
            for start in range(0, count, BATCH):
                network(slices[: min(BATCH, count - start)])

    return run


def prediction(subject: Subject, folder: Path, repeats: int) -> dict[str, float]:
    """The network alone, and the whole of `smiler predict` without its start."""
    path = subject.cohort.image_path(subject.cohort.cases[0])

    def whole() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        subject.model.network.at = 0
        predict(subject.model, [path], PredictRequest(folder))

    return in_turn({"network": alone(subject), "end_to_end": whole}, repeats, warm=repeats > 2)


def relabelling(subject: Subject, folder: Path, repeats: int) -> dict[str, float]:
    """Predicting a case, and completing it: one of its organs annotated, the others for the network to find."""
    cohort, case = subject.cohort, subject.cohort.cases[0]
    first = cohort.organs.keys[0]
    cells = {key: case.cell(key) if key == first else Cell(Status.UNANNOTATED) for key in cohort.organs.keys}
    open_cohort = replace(cohort, cases=(replace(case, cells=cells),))

    def predicting() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        predict(subject.model, [cohort.image_path(case)], PredictRequest(folder))

    def completing(fraction: float) -> Callable[[], None]:
        def run() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            relabel(subject.model, open_cohort, RelabelRequest(folder, fraction))

        return run

    works = {"predict": predicting, "relabel": completing(1.0), "relabel_safest_half": completing(0.5)}
    return in_turn(works, repeats)


def monte_carlo(subject: Subject, repeats: int) -> dict[str, float]:
    """Ten Monte-Carlo passes over 32 working slices against one pass, with the network's own head."""
    model = replace(subject.model, network=subject.model.network.inner)
    image = subject.image[:32]

    def passes(opinions: Opinions | None) -> Callable[[], object]:
        return lambda: [None for _ in slice_scores(model, image, 0, len(image), BATCH, opinions)]

    return in_turn({"single_pass": passes(None), "mc_dropout_10": passes(Opinions("dropout", 10))}, repeats)


def files(subject: Subject, folder: Path, repeats: int) -> dict[str, float]:
    """Reading the CT, and writing a mask; unpacking the CT's bytes is what reading can't do without."""
    import gzip

    from isal import igzip

    path = subject.cohort.image_path(subject.cohort.cases[0])
    bits = predict_bits(subject.model, subject.ct.hu, subject.ct.geometry, PredictionOptions())
    mask = mask_of(bits, 0)
    works = {
        "read_ct": lambda: read_ct(path),
        "unpack_isal": lambda: igzip.decompress(path.read_bytes()),
        "unpack_zlib": lambda: gzip.decompress(path.read_bytes()),
        "write_mask": lambda: write_labels(folder / "mask.nii.gz", mask, subject.ct.grid),
    }
    return in_turn(works, repeats)
