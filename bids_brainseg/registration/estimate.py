# SPDX-License-Identifier: Apache-2.0
"""Register a scan to a reference head, or to another scan of the same person."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RegistrationError
from .elastix import refine
from .search import Score, at_spacing, search
from .trust import field_coverage, implausible, local_agreement
from .volumes import Volume, dilate, mask_like, parameters, preprocess


@dataclass(frozen=True)
class Registration:
    """The alignment of a scan to a reference.

    Attributes
    ----------
    matrix : (4, 4) float64 array
        Maps points of the reference to points of the scan, RAS millimeters.
    similarity : float
        Agreement of scan and reference inside the reference's brain, in [0, 1]; see
        :func:`local_agreement`.
    coverage : float
        Fraction of the reference's brain inside the scan's field of view, in [0, 1].
    model : str
        'affine', or 'similarity' where the affine was implausible and was rejected.
    start : str
        The start that the search chose, in words.
    scales : tuple of float
        The three principal scale factors of the matrix, smallest first.
    seconds : float
        Wall time.
    notes : tuple of str
        What a reader of the report should know.
    """

    matrix: NDArray
    similarity: float
    coverage: float
    model: str
    start: str
    scales: tuple[float, float, float]
    seconds: float
    notes: tuple[str, ...] = ()


def register_affine(
    moving: NDArray,
    moving_affine: NDArray,
    fixed: NDArray,
    fixed_affine: NDArray,
    *,
    fixed_mask: NDArray | None = None,
    threads: int = 2,
    seed: int = 0,
    window: tuple[float, float] | None = None,
) -> Registration:
    """Estimate the affine from a reference to a scan.

    Parameters
    ----------
    moving : (I, J, K) array
        The scan, arbitrary units or HU. Non-finite voxels count as zero.
    moving_affine : (4, 4) array
        Voxel to RAS millimeters of the scan; may be oblique, anisotropic or sheared.
    fixed : (L, M, N) array
        The reference, in the contrast of the scan or another one.
    fixed_affine : (4, 4) array
        Voxel to RAS millimeters of the reference.
    fixed_mask : (L, M, N) array of bool, optional
        The reference's brain; by default its foreground.
    threads : int
        Threads of elastix.
    seed : int
        Seed of elastix' random samples. The same seed and number of threads give the same matrix.
    window : (low, high), optional
        Clip both images to this range first (CT, in HU). By default each image's own robust range.

    Returns
    -------
    Registration
        With ``matrix`` mapping reference points to scan points.

    Raises
    ------
    ValueError
        If an array is not three-dimensional or a shape does not fit.
    RegistrationError
        If an image has no contrast.
    """
    began = time.perf_counter()
    _check(moving, fixed, fixed_mask)
    settings = parameters()
    grid = settings['grid']
    small = preprocess(moving, moving_affine, grid, window, 'scan')
    reference = preprocess(fixed, fixed_affine, grid, window, 'reference')
    mask = reference.data > 0.1 if fixed_mask is None else mask_like(fixed_mask, fixed_affine, reference)
    start, description = search(small, reference, mask, settings['search'], grid['mask_dilation_mm'])
    matrix, model, notes = start, 'similarity', ()
    try:
        affine = start @ refine(small, reference, mask, start, settings, threads=threads, seed=seed)
        complaint = implausible(affine, settings['plausible'])
    except RegistrationError as error:
        complaint = str(error)
    if complaint:
        notes = (f'the affine was rejected ({complaint}); the similarity transform of the search is used',)
    else:
        matrix, model = affine, 'affine'
    return Registration(
        matrix=matrix,
        similarity=local_agreement(small, reference, mask, matrix),
        coverage=field_coverage(np.shape(moving), moving_affine, mask, reference.affine, matrix),
        model=model,
        start=description,
        scales=tuple(float(s) for s in np.linalg.svd(matrix[:3, :3], compute_uv=False)[::-1]),
        seconds=time.perf_counter() - began,
        notes=notes,
    )


def register_rigid(
    moving: NDArray,
    moving_affine: NDArray,
    fixed: NDArray,
    fixed_affine: NDArray,
    *,
    fixed_mask: NDArray,
    threads: int = 2,
    seed: int = 0,
    window: tuple[float, float] | None = None,
) -> Registration:
    """Estimate the rotation and shift between two scans of one person.

    Parameters
    ----------
    moving, moving_affine, fixed, fixed_affine, threads, seed
        As in :func:`register_affine`; `fixed` is the other scan, of any contrast.
    fixed_mask : (L, M, N) array of bool
        The brain in `fixed`.
    window : (low, high), optional
        Clip `moving` to this range first (CT, in HU); `fixed` always has its own robust range.

    Returns
    -------
    Registration
        With ``matrix``, a rotation and a shift, mapping points of `fixed` to points of `moving`; ``model`` is
        'rigid', or 'start' where elastix was not used.

    Raises
    ------
    ValueError
        If an array is not three-dimensional or a shape does not fit.
    RegistrationError
        If an image has no contrast.

    Notes
    -----
    Two starts are compared by mutual information: the scanner's own coordinates, which nearly fit within one
    visit, and the search over the whole head, for scans whose origins differ.
    """
    began = time.perf_counter()
    _check(moving, fixed, fixed_mask)
    settings = parameters()
    grid = settings['grid']
    small = preprocess(moving, moving_affine, grid, window, 'scan')
    reference = preprocess(fixed, fixed_affine, grid, None, 'other scan')
    mask = mask_like(fixed_mask, fixed_affine, reference)
    start, description = _rigid_start(small, reference, mask, settings)
    matrix, model, notes = start, 'start', ()
    options = {**settings, 'elastix': {**settings['elastix'], **settings['rigid']['elastix']}}
    try:
        rigid = start @ refine(small, reference, mask, start, options, threads=threads, seed=seed)
        complaint = _too_far(rigid, start, mask, reference.affine, settings['rigid']['largest_shift_mm'])
    except RegistrationError as error:
        complaint = str(error)
    if complaint:
        notes = (f'the result of elastix was rejected ({complaint}); its start is used: {description}',)
    else:
        matrix, model = rigid, 'rigid'
    return Registration(
        matrix=matrix,
        similarity=local_agreement(small, reference, mask, matrix),
        coverage=field_coverage(np.shape(moving), moving_affine, mask, reference.affine, matrix),
        model=model,
        start=description,
        scales=(1.0, 1.0, 1.0),
        seconds=time.perf_counter() - began,
        notes=notes,
    )


def _rigid_start(
    moving: Volume, fixed: Volume, mask: NDArray[np.bool_], settings: Mapping
) -> tuple[NDArray[np.float64], str]:
    """Return the better of the scanner's coordinates and the search, and its description."""
    searched, description = search(
        moving, fixed, mask, settings['search'], settings['grid']['mask_dilation_mm']
    )
    u, _, v = np.linalg.svd(searched[:3, :3])
    center = fixed.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + fixed.affine[:3, 3]
    rigid = np.eye(4)
    rigid[:3, :3] = u @ v
    rigid[:3, 3] = searched[:3, :3] @ center + searched[:3, 3] - rigid[:3, :3] @ center
    level = settings['search']['fine']
    around = dilate(mask, settings['grid']['mask_dilation_mm'], fixed.affine)
    score = Score(*at_spacing(moving, fixed, around, level['spacing_mm']), level['bins'], level['points'])
    # within one visit the scanner is right to a millimeter or two, and the search only to a few
    starts = {"the scanner's coordinates": np.eye(4), f'search: {description}': rigid}
    best = max(starts, key=lambda name: score(starts[name]))
    return starts[best], best


def _too_far(
    matrix: NDArray, start: NDArray, mask: NDArray[np.bool_], affine: NDArray, limit: float
) -> str | None:
    """Say that elastix moved the brain by more than the start can be wrong (mm), or return None."""
    points = affine[:3, :3] @ np.stack(np.nonzero(mask)) + affine[:3, 3:]
    apart = (matrix - start)[:3, :3] @ points + (matrix - start)[:3, 3:]
    shift = float(np.linalg.norm(apart, axis=0).max())
    return f'it moved the brain by {shift:.0f} mm' if shift > limit else None


def _check(moving: NDArray, fixed: NDArray, fixed_mask: NDArray | None) -> None:
    for name, image in (('moving', moving), ('fixed', fixed)):
        if np.ndim(image) != 3:
            raise ValueError(f'{name} must be three-dimensional, got shape {np.shape(image)}')
    if fixed_mask is not None and np.shape(fixed_mask) != np.shape(fixed):
        raise ValueError(f'fixed_mask has shape {np.shape(fixed_mask)}, fixed has {np.shape(fixed)}')
