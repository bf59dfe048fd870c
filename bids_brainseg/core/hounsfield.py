# SPDX-License-Identifier: Apache-2.0
"""Judge by where air and brain lie whether the values of a CT are Hounsfield units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from .geometry import faces

#: What belongs to air, and to the soft tissue of which a head has most, HU.
AIR, BRAIN = -1000.0, 33.0
#: How far air may lie from its place, where soft tissue may lie beside it, and where it lies without air, HU.
AIR_TOLERANCE, TISSUE_RANGE, BRAIN_RANGE = 15.0, (10.0, 70.0), (20.0, 45.0)
#: The largest offset that is corrected, and how well air and brain have to agree on it, HU.
LARGEST_OFFSET, OFFSET_AGREEMENT = 100.0, 25.0
#: Where a peak is air, and where it may be soft tissue that is off by the largest offset, HU.
AIR_BELOW, TISSUE_SEARCH = -200.0, (-110.0, 170.0)
#: Above it there is bone, HU; more than this fraction of a head is never bone.
BONE, MOST_BONE = 300.0, 0.3
#: Smoothing and range of the histogram, whose bins are 1 HU wide.
SIGMA, RANGE = 6.0, (-5000, 5000)
#: Fraction of the voxels within 15 HU that makes a peak, and of one value that makes a constant.
PEAK_FRACTION, CONSTANT_FRACTION = 0.005, 0.01
#: Fraction of the faces of the image that one value fills if it is that of the background.
BACKGROUND_FACES = 0.3


class Landmarks(NamedTuple):
    """Where peaks of the histogram lie; None where there is none.

    Attributes
    ----------
    air : float or None
        Largest peak below -200.
    tissue : float or None
        Largest peak between -110 and 170.
    border : float
        Median of the six faces of the image, without constants unless there is nothing else.
    constants : tuple of float
        Values that fill the background or to which values were clipped; they are in no peak.
    peaks : tuple of float
        All peaks, the largest first.
    bone : float
        Fraction of the voxels above 300 among those that are not constant.
    """

    air: float | None
    tissue: float | None
    border: float
    constants: tuple[float, ...]
    peaks: tuple[float, ...]
    bone: float


class Calibration(NamedTuple):
    """What has to be subtracted from the values (HU), notes for a reader, and doubts that ask for review."""

    offset: float = 0.0
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def find_landmarks(image: NDArray) -> Landmarks:
    """Find air, soft tissue and constants in the histogram of a CT.

    Parameters
    ----------
    image : (I, J, K) array
        Finite.

    Returns
    -------
    Landmarks
    """
    border = np.concatenate([face.ravel() for face in faces(image)])
    values, counts = np.unique(border, return_counts=True)
    candidates = {float(image.min()), float(image.max())}
    if counts.max() >= BACKGROUND_FACES * border.size:
        candidates.add(float(values[counts.argmax()]))
    constants = tuple(
        sorted(c for c in candidates if np.count_nonzero(image == c) >= CONSTANT_FRACTION * image.size)
    )
    rest = image[~np.isin(image, np.array(constants, image.dtype))]
    if rest.size < CONSTANT_FRACTION * image.size:  # a drawing of two values: the brighter one is the head
        constants, rest = constants[:-1], image[image == image.max()]
    counts, _ = np.histogram(rest, np.arange(RANGE[0] - 0.5, RANGE[1] + 1))  # whole numbers in the middle
    smooth = ndimage.gaussian_filter1d(counts.astype(float), SIGMA)
    least = PEAK_FRACTION * image.size / 30
    found, _ = signal.find_peaks(smooth, height=least, prominence=least / 2)
    places = np.arange(RANGE[0], RANGE[1] + 1)[found]
    order = np.argsort(-smooth[found], kind='stable')
    peaks = tuple(float(place) for place in places[order])

    open_border = border[~np.isin(border, np.array(constants, image.dtype))]

    def largest(low: float, high: float) -> float | None:
        return next((peak for peak in peaks if low <= peak <= high), None)

    return Landmarks(
        air=largest(RANGE[0], AIR_BELOW),
        tissue=largest(*TISSUE_SEARCH),
        border=float(np.median(open_border if open_border.size else border)),
        constants=constants,
        peaks=peaks,
        bone=float(np.mean(rest > BONE)) if rest.size else 0.0,
    )


def calibrate_hounsfield(found: Landmarks) -> Calibration:
    """Decide what the landmarks of a CT of a head say about its unit.

    Parameters
    ----------
    found : Landmarks

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        Says why the values cannot be HU.

    Examples
    --------
    >>> calibrate_hounsfield(Landmarks(-976.0, 57.0, -976.0, (), (-976.0, 57.0), 0.06)).offset
    24.0
    """
    air, tissue = found.air, found.tissue
    raw = [p for p in found.peaks if AIR_BELOW < found.border and 985 <= p - found.border <= 1085]
    if raw:
        raise ValueError(
            f'air at {found.border:.0f} and soft tissue at {raw[0]:.0f}: the intercept of about '
            f'{AIR - found.border:.0f} was not applied'
        )
    if tissue is None:
        raise ValueError(f'no soft tissue near {BRAIN:.0f}: {_peaks(found)}')
    if found.bone > MOST_BONE:
        raise ValueError(f'{100 * found.bone:.0f} % of the voxels above {BONE:.0f}: {_peaks(found)}')
    # fluid, or the fat of the scalp, may have a larger peak than the brain
    soft = any(_within(peak, TISSUE_RANGE) for peak in found.peaks)
    if air is not None and abs(air - AIR) <= AIR_TOLERANCE and soft:
        return Calibration()
    if _within(tissue, BRAIN_RANGE) and (air is None or abs(air - AIR) <= LARGEST_OFFSET):
        if air is None:
            return Calibration(notes=(
                f'There is no air in the CT{_background(found)}: that it is in Hounsfield units is judged '
                f'by its soft tissue alone, at {tissue:.0f} HU.',
            ))  # fmt: skip
        return Calibration(doubts=(
            f'Air lies at {air:.0f} HU, soft tissue at {tissue:.0f} HU. Check slope and intercept of the CT.',
        ))  # fmt: skip
    places = [air] if air is not None else [c for c in found.constants if c < AIR_BELOW]
    for place in places:
        offset = place - AIR
        brain = next((p for p in found.peaks if abs(p - BRAIN - offset) <= OFFSET_AGREEMENT), None)
        if abs(offset) <= LARGEST_OFFSET and brain is not None:
            return Calibration(offset, (
                f'All values of the CT were off by {offset:+.0f} HU (air at {place:.0f}, soft tissue at '
                f'{brain:.0f}) and were corrected.',
            ))  # fmt: skip
    raise ValueError(_peaks(found))


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _background(found: Landmarks) -> str:
    text = ' and '.join(f'{value:g}' for value in found.constants)
    return f' (constant background or clipped at {text})' if text else ''


def _peaks(found: Landmarks) -> str:
    """Name where most voxels lie."""
    text = ', '.join(f'{peak:.0f}' for peak in sorted(found.peaks[:4])) or 'nowhere'
    constant = ', '.join(f'{value:g}' for value in found.constants)
    return f'most voxels lie at {text}' + (f', besides constant {constant}' if constant else '')
