"""Calibrated selection: expert pairs held out of training say from which score on a network is right often enough.

A score is not a probability (a balanced loss and a Dice term inflate it), and a network is too sure of volumes that it
was trained on. So a few (case, organ) pairs are kept from it until the last round, and measure it instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.prediction.model import Model
from smiler.prediction.scores import predict_working
from smiler.sampling.draws import generator
from smiler.store.store import Store, StoredCase

FEWEST = 4


@dataclass(frozen=True)
class HeldOut:
    """Expert pairs kept from training: for each case of the store the held organs as bits."""

    bits: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """How many they are."""
        return sum(bits.bit_count() for bits in self.bits)

    def without(self, store: Store) -> Store:
        """The store as if nobody had annotated these pairs."""
        organs = np.arange(len(store.organs))

        def hide(case: StoredCase, bits: int) -> StoredCase:
            known = case.known & np.int32(~bits)
            return replace(case, known=known, voxels=case.voxels * (known[:, None] >> organs & 1))

        pairs = zip(store.cases, self.bits, strict=True)
        return replace(store, cases=tuple(hide(case, bits) if bits else case for case, bits in pairs))


def hold_out(store: Store, share: float, seed: int) -> HeldOut:
    """Hold out a share of each organ's pairs: at least one that is drawn, and as large a share of the empty ones.

    Where an expert found nothing is where an organ is proposed in vain. Nothing is held out of an organ with fewer than
    four drawn pairs. One order of the cases serves all organs, so that the pairs lie in few cases, each predicted once.
    """
    bits = [0] * len(store)
    order = generator(seed).permutation(len(store))
    for k in range(len(store.organs)):
        known = [int(i) for i in order if (store.cases[i].known >> k & 1).all()]
        has = {i: bool(store.cases[i].voxels[:, k].any()) for i in known}
        drawn, empty = ([i for i in known if has[i] is wanted] for wanted in (True, False))
        if len(drawn) >= FEWEST:
            for i in [*drawn[: max(1, round(share * len(drawn)))], *empty[: round(share * len(empty))]]:
                bits[i] |= 1 << k
    return HeldOut(tuple(bits))


def calibrate(model: Model, store: Store, held: HeldOut, precision: float) -> dict[str, float]:
    """Organ -> the lowest score (at least 0) from which `precision` of the predictions on held-out pairs is right.

    Infinite where no score is good enough; organs without held-out pairs are left out.
    """
    found: dict[int, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {}
    for case, bits in zip(store.cases, held.bits, strict=True):
        for k, scores, right in _judged(model, case, bits):
            found.setdefault(k, []).append((scores, right))
    return {store.organs.keys[k]: _threshold(pairs, precision) for k, pairs in sorted(found.items())}


def _judged(model: Model, case: StoredCase, bits: int) -> list[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
    """Per held-out organ: scores above 0 at voxels that would be open to a proposal, and whether the expert agrees."""
    channels = tuple(k for k in range(len(model.organs)) if bits >> k & 1)
    if not channels:
        return []
    prediction = predict_working(model, case.image, case.geometry, channels)
    drawn = np.asarray(case.drawn[:])
    known = np.broadcast_to((case.known & np.int32(~bits))[:, None, None], drawn.shape)
    codes = derive(Fields(drawn, known, np.zeros_like(drawn)), Relations.of(model.organs), np)
    judged = []
    for score, k in zip(prediction.score, channels, strict=True):
        where = (score > 0) & (codes[k] == int(Code.UNKNOWN))
        judged.append((k, score[where].astype(np.float32), (drawn[where] >> k & 1).astype(bool)))
    return judged


def _threshold(pairs: list[tuple[NDArray[np.float32], NDArray[np.bool_]]], precision: float) -> float:
    scores = np.concatenate([scores for scores, _ in pairs])
    right = np.concatenate([right for _, right in pairs])
    order = np.argsort(-scores, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= precision)
    return float(scores[order[good[-1]]]) if len(good) else float("inf")
