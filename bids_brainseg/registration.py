# SPDX-License-Identifier: Apache-2.0
"""One affine from a reference head to a scan, with a number that says whether it can be trusted.

The only module that knows ITK and its LPS frame. Arrays and RAS affines go in, a 4x4 RAS matrix comes out.

The work is done in three steps, whose settings are ``data/elastix_affine.json``:

1. both images are averaged down to a few millimetres, so that the size of the input hardly matters;
2. a search over rotations and shifts around the head's mass, scored by mutual information inside the
   reference's brain, gives a similarity transform (rotation, shift, one scale); the origin in the header
   plays no part in it;
3. the scan, resampled by that start onto the reference's neighbourhood, goes to elastix for the affine that
   is left. There both images share one grid, so no direction, origin or large rotation can mislead it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize

from bids_brainseg.core import geometry
from bids_brainseg.data import resource
from bids_brainseg.errors import RegistrationError
from bids_brainseg.transforms import about_centre


@dataclass(frozen=True)
class Registration:
    """What aligning one scan to the reference gave.

    Attributes
    ----------
    matrix : (4, 4) float64 array
        Maps points of the reference to points of the scan, RAS millimetres.
    similarity : float
        Share of local structure that agrees inside the reference's brain, in [0, 1]; see
        :func:`local_agreement`.
    coverage : float
        Share of the reference's brain that lies inside the scan's field of view, in [0, 1].
    model : str
        'affine', or 'similarity' where the affine was implausible and was not used.
    start : str
        The start that the search chose, in words.
    scales : tuple of float
        The three principal scale factors of the matrix, smallest first.
    seconds : float
        Wall time.
    notes : tuple of str
        What a reader of the report should know.
    """

    matrix: np.ndarray
    similarity: float
    coverage: float
    model: str
    start: str
    scales: tuple[float, float, float]
    seconds: float
    notes: tuple[str, ...] = ()


class _Volume(NamedTuple):
    data: np.ndarray
    affine: np.ndarray


@cache
def parameters() -> dict:
    """Return the packaged registration settings (grid, search, elastix, plausible, quality)."""
    return json.loads(resource('elastix_affine.json').read_text())


def register_affine(
    moving: np.ndarray,
    moving_affine: np.ndarray,
    fixed: np.ndarray,
    fixed_affine: np.ndarray,
    *,
    fixed_mask: np.ndarray | None = None,
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
        Voxel to RAS millimetres of the scan; may be oblique, anisotropic or sheared.
    fixed : (L, M, N) array
        The reference, in the contrast of the scan or another one.
    fixed_affine : (4, 4) array
        Voxel to RAS millimetres of the reference.
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
    small = _prepare(moving, moving_affine, grid, window, 'scan')
    reference = _prepare(fixed, fixed_affine, grid, window, 'reference')
    mask = reference.data > 0.1 if fixed_mask is None else _mask_like(fixed_mask, fixed_affine, reference)
    start, words = _search(small, reference, mask, settings['search'], grid['mask_dilation_mm'])
    matrix, model, notes = start, 'similarity', ()
    try:
        affine = start @ _refine(small, reference, mask, start, settings, threads=threads, seed=seed)
        complaint = implausible(affine, settings['plausible'])
    except RegistrationError as error:
        complaint = str(error)
    if complaint:
        notes = (f'the affine was not used ({complaint}); the similarity transform of the search stands',)
    else:
        matrix, model = affine, 'affine'
    return Registration(
        matrix=matrix,
        similarity=local_agreement(small, reference, mask, matrix),
        coverage=field_coverage(np.shape(moving), moving_affine, mask, reference.affine, matrix),
        model=model,
        start=words,
        scales=tuple(float(s) for s in np.linalg.svd(matrix[:3, :3], compute_uv=False)[::-1]),
        seconds=time.perf_counter() - began,
        notes=notes,
    )


def register_rigid(
    moving: np.ndarray,
    moving_affine: np.ndarray,
    fixed: np.ndarray,
    fixed_affine: np.ndarray,
    *,
    fixed_mask: np.ndarray,
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
    visit, and the search over the whole head, for scans that share no origin.
    """
    began = time.perf_counter()
    _check(moving, fixed, fixed_mask)
    settings = parameters()
    grid = settings['grid']
    small = _prepare(moving, moving_affine, grid, window, 'scan')
    reference = _prepare(fixed, fixed_affine, grid, None, 'other scan')
    mask = _mask_like(fixed_mask, fixed_affine, reference)
    start, words = _rigid_start(small, reference, mask, settings)
    matrix, model, notes = start, 'start', ()
    chosen = {**settings, 'elastix': {**settings['elastix'], **settings['rigid']['elastix']}}
    try:
        found = start @ _refine(small, reference, mask, start, chosen, threads=threads, seed=seed)
        complaint = _too_far(found, start, mask, reference.affine, settings['rigid']['largest_shift_mm'])
    except RegistrationError as error:
        complaint = str(error)
    if complaint:
        notes = (f'what elastix found was not used ({complaint}); the start stands: {words}',)
    else:
        matrix, model = found, 'rigid'
    return Registration(
        matrix=matrix,
        similarity=local_agreement(small, reference, mask, matrix),
        coverage=field_coverage(np.shape(moving), moving_affine, mask, reference.affine, matrix),
        model=model,
        start=words,
        scales=(1.0, 1.0, 1.0),
        seconds=time.perf_counter() - began,
        notes=notes,
    )


def _rigid_start(moving, fixed, mask, settings):
    """Return the better of the scanner's coordinates and the search, both refined, and its name."""
    searched, words = _search(moving, fixed, mask, settings['search'], settings['grid']['mask_dilation_mm'])
    u, _, v = np.linalg.svd(searched[:3, :3])
    centre = fixed.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + fixed.affine[:3, 3]
    rigid = np.eye(4)
    rigid[:3, :3] = u @ v
    rigid[:3, 3] = searched[:3, :3] @ centre + searched[:3, 3] - rigid[:3, :3] @ centre
    level = settings['search']['fine']
    around = _dilate(mask, settings['grid']['mask_dilation_mm'], fixed.affine)
    score = _Score(*_at(moving, fixed, around, level['spacing_mm']), level['bins'], level['points'])
    # within one visit the scanner is right to a millimetre or two, and the search only to a few
    starts = {"the scanner's coordinates": np.eye(4), f'search: {words}': rigid}
    name = max(starts, key=lambda name: score(starts[name]))
    return starts[name], name


def _too_far(found, start, mask, affine, limit):
    """Say that elastix left its start by more than the start can be wrong, or return None."""
    points = affine[:3, :3] @ np.stack(np.nonzero(mask)) + affine[:3, 3:]
    apart = (found - start)[:3, :3] @ points + (found - start)[:3, 3:]
    shift = float(np.linalg.norm(apart, axis=0).max())
    return f'it moved the brain by {shift:.0f} mm' if shift > limit else None


def label_agreement(image: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> float:
    """Return how well a label map fits the scan that it lies on.

    The labels are painted with the mean intensity that the scan has in each, and this picture is compared
    with the scan by :func:`local_agreement`.

    Parameters
    ----------
    image : (I, J, K) array
        Scan, any units.
    labels : (I, J, K) array of int
        Class indices, 0 is background.
    affine : (4, 4) array
        Voxel to RAS millimetres of both.

    Returns
    -------
    float
        In [0, 1]; 0 for a label map without labels. The number depends on the contrast of the scan, so only
        scans of one modality can be compared.
    """
    image, labels = np.asarray(image, np.float32), np.asarray(labels)
    mask = labels > 0
    if not mask.any():
        return 0.0
    counts = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), image.ravel()) / np.maximum(counts, 1)
    rim = _dilate(mask, parameters()['quality']['rim_mm'] * 2, affine) & ~mask
    means[0] = image[rim].mean() if rim.any() else 0
    return local_agreement((image, affine), (means[labels].astype(np.float32), affine), mask, np.eye(4))


def _check(moving, fixed, fixed_mask):
    for name, image in (('moving', moving), ('fixed', fixed)):
        if np.ndim(image) != 3:
            raise ValueError(f'{name} must be three-dimensional, got shape {np.shape(image)}')
    if fixed_mask is not None and np.shape(fixed_mask) != np.shape(fixed):
        raise ValueError(f'fixed_mask has shape {np.shape(fixed_mask)}, fixed has {np.shape(fixed)}')


# === Small images ===


def _prepare(image, affine, grid, window, name) -> _Volume:
    """Average down to about the working spacing and scale the robust range to [0, 1]."""
    small = _shrink(np.asarray(image), np.asarray(affine, float), grid['spacing_mm'])
    low, high = window if window is not None else _robust_range(small.data, grid['percentiles'])
    if not high > low:
        raise RegistrationError(f'the {name} has no contrast (all values about {low:g}); check the image')
    scaled = (np.clip(small.data, low, high) - low) / (high - low)
    return _pad_with_air(_Volume(scaled.astype(np.float32), small.affine), grid)


def _pad_with_air(volume, grid):
    """Add empty space beyond each face of the image that shows (almost) only air.

    A skull-stripped scan is often cropped to the brain: without the emptiness around it an affine can stretch
    it beyond its field of view at no cost. Where a face cuts through the head, nothing is known beyond it.
    """
    head = _foreground(_shrink(volume.data, volume.affine, 2 * grid['spacing_mm']).data)
    pads = []
    for axis, size in enumerate(geometry.voxel_sizes(volume.affine)):
        depth = int(np.ceil(grid['air_mm'] / size))
        cut = [np.take(head, face, axis).mean() > grid['air_face_share'] for face in (0, -1)]
        pads.append(tuple(0 if c else depth for c in cut))
    shift = np.eye(4)
    shift[:3, 3] = [-before for before, _ in pads]
    return _Volume(np.pad(volume.data, pads), volume.affine @ shift)


def _shrink(image, affine, spacing) -> _Volume:
    """Average blocks of voxels so that no axis is finer than ``spacing`` by a factor of two or more.

    Whole blocks only: a remainder of less than a block at the far end is dropped.
    """
    sizes = geometry.voxel_sizes(affine)
    factors = np.clip(np.round(spacing / sizes), 1, np.array(image.shape)).astype(int)
    kept = [n // f * f for n, f in zip(image.shape, factors, strict=True)]
    data = image[tuple(slice(k) for k in kept)]
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = data.shape
            split = (*shape[:axis], shape[axis] // factor, factor, *shape[axis + 1 :])
            data = data.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    data = np.nan_to_num(data.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
    to_old = np.diag([*factors.astype(float), 1.0])
    to_old[:3, 3] = (factors - 1) / 2
    return _Volume(data, affine @ to_old)


def _robust_range(data, percentiles):
    """Return the value of air and a high percentile of the foreground."""
    low = float(np.percentile(data, percentiles[0]))
    above = data[data > max(float(data.mean()), low)]
    return low, (float(np.percentile(above, percentiles[1])) if above.size else low)


def _foreground(data):
    """Return the largest connected part that is brighter than air, holes filled."""
    bright = data[data > data.mean()]
    mask = ndimage.binary_opening(data > 0.3 * (np.median(bright) if bright.size else 1.0))
    parts, n = ndimage.label(mask)
    if not n:
        return data > data.mean()
    sizes = np.bincount(parts.ravel())[1:]
    return ndimage.binary_fill_holes(parts == 1 + int(sizes.argmax()))


def _mask_like(mask, affine, volume) -> np.ndarray:
    share = _shrink(np.asarray(mask, np.float32), np.asarray(affine, float), _spacing(volume))
    return _regrid(share, volume.data.shape, volume.affine, np.eye(4)) > 0.5


def _spacing(volume) -> float:
    return float(geometry.voxel_sizes(volume.affine).min())


def _dilate(mask, millimetres, affine):
    return ndimage.distance_transform_edt(~mask, sampling=geometry.voxel_sizes(affine)) <= millimetres


def _regrid(volume, shape, affine, matrix, cval=0.0):
    """Sample a volume linearly on a grid; ``matrix`` maps the grid's RAS points to the volume's."""
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    return ndimage.affine_transform(
        volume.data,
        to_voxel[:3, :3],
        to_voxel[:3, 3],
        output_shape=shape,
        order=1,
        mode='constant',
        cval=cval,
    )


def _regrid_mask(mask, mask_affine, shape, affine):
    return _regrid(_Volume(mask.astype(np.float32), mask_affine), shape, affine, np.eye(4)) > 0.5


def _regrid_with_field(volume, shape, affine, matrix):
    """Return the resampled volume, and where it has data (to half a voxel beyond the centres)."""
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    sampled = ndimage.affine_transform(
        volume.data, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, mode='nearest'
    )
    inside = np.ones(shape, bool)
    for axis, size in enumerate(volume.data.shape):
        i, j, k = (
            (to_voxel[axis, n] * np.arange(shape[n])).reshape([-1 if m == n else 1 for m in range(3)])
            for n in range(3)
        )
        index = i + j + k + to_voxel[axis, 3]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return np.where(inside, sampled, 0).astype(np.float32), inside


# === The start: a search scored by mutual information ===


class _Score:
    """Mutual information of scan and reference over points of the reference's (dilated) brain.

    It is a sum over the points inside the field of view, divided by all points: losing brain costs.
    """

    def __init__(self, moving, fixed, mask, bins, most_points):
        inside = np.array(np.nonzero(mask))
        if inside.shape[1] > most_points:
            inside = np.random.default_rng(0).choice(inside, most_points, axis=1, replace=False)
        inside = tuple(inside)
        self.points = (fixed.affine[:3, :3] @ np.stack(inside) + fixed.affine[:3, 3:]).astype(np.float64)
        self.bins = bins
        self.rows = np.minimum((fixed.data[inside] * bins).astype(np.int64), bins - 1) * bins
        self.moving = moving.data * np.float32(bins * 0.9999)
        self.to_voxel = geometry.invert(moving.affine)

    def __call__(self, matrix) -> float:
        full = self.to_voxel @ matrix
        voxels = full[:3, :3] @ self.points + full[:3, 3:]
        values = ndimage.map_coordinates(self.moving, voxels, order=1, mode='grid-constant', cval=-1e6)
        valid = values >= 0
        n = int(np.count_nonzero(valid))
        if n < 0.1 * valid.size:
            return 0.0
        cells = self.rows[valid] + values[valid].astype(np.int64)
        joint = np.bincount(cells, minlength=self.bins**2).reshape(self.bins, self.bins) / n
        outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        seen = joint > 0
        return float((joint[seen] * np.log(joint[seen] / outer[seen])).sum()) * n / valid.size


def _search(moving, fixed, mask, settings, dilation):
    """Return the best similarity transform (4x4, reference to scan) and the start it grew from, in words."""
    around = _dilate(mask, dilation, fixed.affine)
    centre = fixed.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + fixed.affine[:3, 3]
    coarse, fine = (
        _Score(*_at(moving, fixed, around, level['spacing_mm']), level['bins'], level['points'])
        for level in (settings['coarse'], settings['fine'])
    )
    candidates = []
    for name, place in _centres(moving, settings).items():
        sides, ups, fronts, pitches = (
            settings[f'{a}'] for a in ('roll_yaw_degrees', 'superior_mm', 'anterior_mm', 'pitch_degrees')
        )
        for pitch, (roll, yaw), up, front in product(pitches, sides, ups, fronts):
            vector = np.array([0.0, front, up, pitch, roll, yaw, 0.0])
            candidates.append((coarse(_similarity(vector, centre, place)), name, place, vector))
    candidates.sort(key=lambda c: -c[0])
    chosen = _apart(candidates, settings)
    penalty = settings['scale_penalty']
    chosen = [_climb(coarse, c, centre, settings['coarse'], penalty) for c in chosen]
    chosen = sorted(chosen, key=lambda c: -c[0])[: settings['keep_fine']]
    chosen = [_climb(fine, c, centre, settings['fine'], penalty) for c in chosen]
    _, name, place, vector = max(chosen, key=lambda c: c[0])
    turn = ', '.join(f'{degrees:.0f}' for degrees in vector[3:6])
    words = f'{name}, turned by {turn} degrees about R, A, S, scaled by {np.exp(vector[6] / 80):.2f}'
    return _similarity(vector, centre, place), words


def _at(moving, fixed, mask, spacing):
    """Return scan, reference and mask at a coarser spacing, slightly smoothed."""
    scan, reference = (_smooth(_shrink(v.data, v.affine, spacing), spacing / 2) for v in (moving, fixed))
    inside = _shrink(mask.astype(np.float32), fixed.affine, spacing).data > 0.5
    return scan, reference, inside


def _smooth(volume, fwhm):
    sigma = fwhm / 2.355 / geometry.voxel_sizes(volume.affine)
    return _Volume(ndimage.gaussian_filter(volume.data, sigma), volume.affine)


def _centres(moving, settings):
    """Guess where the brain's centre is: below the vertex, and at the mass of all foreground."""
    volume = _shrink(moving.data, moving.affine, settings['fine']['spacing_mm'])
    points = volume.affine[:3, :3] @ np.stack(np.nonzero(_foreground(volume.data))) + volume.affine[:3, 3:]
    top = np.percentile(points[2], 99.7)
    depth = settings['vertex_to_brain_centre_mm']
    upper = points[:, points[2] > top - 2 * depth]
    below_vertex = np.array([*upper[:2].mean(axis=1), top - depth])
    return {'below the vertex': below_vertex, 'centre of mass': points.mean(axis=1)}


def _similarity(vector, centre, place):
    """Build shift (mm), rotation (degrees about R, A, S) and scale (80 x log) around a centre."""
    pitch, roll, yaw = np.deg2rad(vector[3:6])
    (cp, sp), (cr, sr), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (pitch, roll, yaw))
    about_r = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_a = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_s = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_s @ about_a @ about_r * np.exp(vector[6] / 80)
    matrix[:3, 3] = place + vector[:3] - matrix[:3, :3] @ centre
    return matrix


def _apart(candidates, settings):
    """Keep the best candidates that differ from each other in where they start."""
    kept, poses = [], []
    for candidate in candidates:
        _, _, place, vector = candidate
        pose = np.append(place + vector[:3], vector[3:6])
        if all(np.linalg.norm(pose - other) > settings['apart_mm'] for other in poses):
            kept.append(candidate)
            poses.append(pose)
        if len(kept) == settings['keep']:
            break
    return kept


def _climb(score, candidate, centre, level, scale_penalty):
    """Improve a candidate over seven parameters (Powell); units are about 1 mm at the brain's surface.

    The penalty keeps the scale near 1 unless the images insist: too large a scan is the usual wrong optimum.
    """
    _, name, place, vector = candidate

    def cost(v):
        return scale_penalty * (v[6] / 80) ** 2 - score(_similarity(v, centre, place))

    options = {
        'direc': level['step'] * np.eye(7),
        'maxiter': level['rounds'],
        'xtol': 0.02,
        'ftol': 1e-4,
    }
    found = optimize.minimize(cost, vector, method='Powell', options=options)
    return -float(found.fun), name, place, found.x


# === elastix ===


def _refine(moving, fixed, mask, start, settings, *, threads, seed):
    """Return the 4x4 RAS affine left between the reference and the scan brought over by ``start``."""
    shape, affine = _working_grid(fixed, mask, settings['grid'])
    reference = _regrid(fixed, shape, affine, np.eye(4))
    inside = _regrid_mask(mask, fixed.affine, shape, affine)
    region = _dilate(inside, settings['grid']['mask_dilation_mm'], affine)
    scan, field = _regrid_with_field(moving, shape, affine, start)
    if np.count_nonzero(region & field) < 1000:
        raise RegistrationError(
            'the scan hardly overlaps the reference after the search; check that it shows a head'
        )
    itk = _Wrapping()
    images = [itk.image(a, affine) for a in (reference, scan)]
    masks = [itk.mask(a, affine) for a in (region, field)]
    return _run_elastix(itk, images, masks, settings['elastix'], threads=threads, seed=seed)


def _working_grid(fixed, mask, grid):
    """Return shape and affine of an RAS grid around the reference's brain."""
    corners = np.array(list(product(*[(ax.min(), ax.max()) for ax in np.nonzero(mask)])), float)
    points = corners @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    low, high = points.min(axis=0) - grid['margin_mm'], points.max(axis=0) + grid['margin_mm']
    affine = np.diag([*[grid['spacing_mm']] * 3, 1.0])
    affine[:3, 3] = low
    return tuple(np.ceil((high - low) / grid['spacing_mm']).astype(int) + 1), affine


class _Wrapping:
    """The few wrapped classes that are needed.

    Asking ``itk`` for ``ElastixRegistrationMethod`` loads some fifty libraries, which takes longer than the
    registration; its own wrapping modules load in a second.
    """

    def __init__(self):
        try:
            from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython

            parameter_object = elxParameterObjectPython.elastixParameterObject
            method = itkElastixRegistrationMethodPython.itkElastixRegistrationMethodIF3IF3
            float_buffer, mask_buffer = itkPyBufferPython.itkPyBufferIF3, itkPyBufferPython.itkPyBufferIUC3
        except ImportError:  # another build of ITK: the long way round
            import itk

            image, mask = itk.Image[itk.F, 3], itk.Image[itk.UC, 3]
            parameter_object, method = itk.ParameterObject, itk.ElastixRegistrationMethod[image, image]
            float_buffer, mask_buffer = itk.PyBuffer[image], itk.PyBuffer[mask]
        self.method, self.parameters, self.buffers = method, parameter_object, (float_buffer, mask_buffer)

    def image(self, array, affine):
        return self._wrap(self.buffers[0], array.astype(np.float32), affine)

    def mask(self, array, affine):
        return self._wrap(self.buffers[1], array.astype(np.uint8), affine)

    def _wrap(self, buffer, array, affine):
        """RAS array to LPS image with an identity direction: R and A run backwards in memory."""
        array = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0))
        image = buffer._GetImageViewFromArray(array, list(array.shape[::-1]), 1)
        image.array = array  # the image looks at this memory and does not own it
        far = affine @ np.array([array.shape[2] - 1, array.shape[1] - 1, 0, 1.0])
        image.SetSpacing([float(s) for s in np.diag(affine)[:3]])
        image.SetOrigin([float(v) for v in (-far[0], -far[1], far[2])])
        return image


def _run_elastix(itk, images, masks, chosen, *, threads, seed):
    chosen = {key: tuple(v) if isinstance(v, list) else (v,) for key, v in chosen.items()}
    chosen['RandomSeed'] = (str(int(seed) + 1),)
    parameter = itk.parameters.New()
    parameter.AddParameterMap(chosen)
    method = itk.method.New()
    method.SetFixedImage(images[0])
    method.SetMovingImage(images[1])
    method.SetFixedMask(masks[0])
    method.SetMovingMask(masks[1])
    method.SetParameterObject(parameter)
    method.SetNumberOfThreads(int(threads))
    method.LogToConsoleOff()
    try:
        method.Update()
    except RuntimeError as error:
        raise RegistrationError('elastix stopped, too little of the scan fits') from error
    return _read_affine(method.GetTransformParameterObject().GetParameterMap(0))


def _read_affine(found) -> np.ndarray:
    """Turn elastix' twelve numbers (six, if rigid) and centre of rotation into a 4x4 RAS matrix."""
    numbers = np.array([float(v) for v in found['TransformParameters']])
    centre = np.array([float(v) for v in found['CenterOfRotationPoint']])
    if len(numbers) == 6:
        numbers = np.r_[_rotation(*numbers[:3]).ravel(), numbers[3:]]
    return geometry.ras_to_lps(about_centre(numbers, centre))


def _rotation(x, y, z):
    """Return ITK's Euler rotation in its usual order: about y first, then x, then z; radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


# === Can it be trusted? ===


def implausible(matrix: np.ndarray, limits: dict | None = None) -> str | None:
    """Say why a matrix cannot be what lies between two adult heads, or return None.

    >>> implausible(np.diag([1.1, 1.0, 0.9, 1.0])) is None
    True
    >>> implausible(np.diag([1.1, 1.0, 0.5, 1.0]))
    'scale 0.50 outside 0.72 to 1.38'
    """
    limits = parameters()['plausible'] if limits is None else limits
    linear = np.asarray(matrix, float)[:3, :3]
    if not np.isfinite(linear).all() or np.linalg.det(linear) <= 0:
        return 'it mirrors or collapses space'
    u, scales, v = np.linalg.svd(linear)
    low, high = limits['scale']
    for scale in scales:
        if not low <= scale <= high:
            return f'scale {scale:.2f} outside {low:g} to {high:g}'
    if scales[0] / scales[2] > limits['stretch']:
        return f'stretch {scales[0] / scales[2]:.2f} above {limits["stretch"]:g}'
    turn = np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1)))
    if turn > limits['rotation_degrees']:
        return f'rotation by {turn:.0f} degrees above {limits["rotation_degrees"]:g}'
    return None


def local_agreement(moving, fixed, mask, matrix) -> float:
    """Return the quality number of an alignment.

    In a Gaussian window around each point of the reference's brain the squared correlation between reference
    and aligned scan is taken, then its mean. Squared: a scan of reversed contrast counts as well. Local: the
    scanner's shading does not matter. Only the brain and a rim of a few millimetres take part, so that scans
    with and without a skull can be compared.

    Parameters
    ----------
    moving, fixed : (data, affine) pairs
        Scan and reference; data (I, J, K), affine (4, 4) RAS millimetres.
    mask : array of bool
        The reference's brain, on its grid.
    matrix : (4, 4) array
        Maps reference points to scan points, RAS millimetres.

    Returns
    -------
    agreement : float
        In [0, 1]: 1 for the same image, about 0.6 for a well aligned head, about 0.3 for one that is 10 mm or
        20 degrees off or for an ellipsoid, 0.15 or less for noise.
    """
    settings = parameters()['quality']
    moving, fixed = _Volume(*moving), _Volume(*fixed)
    grid = {'spacing_mm': settings['spacing_mm'], 'margin_mm': 0.0}
    shape, affine = _working_grid(fixed, mask, grid)
    inside = _regrid_mask(mask, fixed.affine, shape, affine)
    reference = _regrid(_smooth(fixed, settings['fwhm_mm']), shape, affine, np.eye(4))
    scan, field = _regrid_with_field(_smooth(moving, settings['fwhm_mm']), shape, affine, matrix)
    seen = field & _dilate(inside, settings['rim_mm'], affine)
    inside &= field
    if not inside.any():
        return 0.0
    agreement = _local_correlation(reference, scan, seen, settings['window_mm'] / settings['spacing_mm'])
    return float(agreement[inside].mean())


def field_coverage(shape, affine, mask, mask_affine, matrix) -> float:
    """Return the share of a mask that lies inside a scan's field of view.

    Parameters
    ----------
    shape : tuple of int
        Shape of the scan.
    affine : (4, 4) array
        Voxel to RAS millimetres of the scan.
    mask : array of bool
        Of the reference.
    mask_affine : (4, 4) array
        Voxel to RAS millimetres of the mask.
    matrix : (4, 4) array
        Maps reference points to scan points, RAS millimetres.

    Returns
    -------
    float
        In [0, 1].
    """
    to_voxel = geometry.invert(affine) @ matrix @ mask_affine
    voxels = to_voxel[:3, :3] @ np.stack(np.nonzero(mask)) + to_voxel[:3, 3:]
    size = np.array(shape)[:, None]
    return float(np.mean(np.all((voxels >= -0.5) & (voxels <= size - 0.5), axis=0)))


def _local_correlation(reference, scan, seen, sigma):
    """Return the squared correlation in Gaussian windows over the voxels that are seen."""
    share = ndimage.gaussian_filter(seen.astype(np.float64), sigma) + 1e-6

    def mean(values):
        return ndimage.gaussian_filter(np.where(seen, values, 0), sigma) / share

    reference, scan = reference.astype(np.float64), scan.astype(np.float64)
    mean_r, mean_s = mean(reference), mean(scan)
    var_r = np.maximum(mean(reference**2) - mean_r**2, 0)
    var_s = np.maximum(mean(scan**2) - mean_s**2, 0)
    covariance = mean(reference * scan) - mean_r * mean_s
    return covariance**2 / (var_r * var_s + 1e-8)
