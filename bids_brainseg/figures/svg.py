# SPDX-License-Identifier: Apache-2.0
"""The elements of a figure of slices as SVG: rasters, outlines, marks.

The SVG is written here rather than by matplotlib: a scan needs some 17 panels with up to 27 outlines each,
which is a tenth of a second and 100 KB as integer paths, and several seconds and megabytes as axes.
"""

from __future__ import annotations

import base64
import io

import contourpy
import numpy as np
from PIL import Image

from .panels import AXES, WIDTH, Panel

BACKGROUND, INK, FAINT = '#0e1013', '#e8eaed', '#c3c8ce'
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


def raster(pixels: np.ndarray, panel: Panel, *, density: float = 1.6, quality: int = 82) -> str:
    """Return an <image> of uint8 pixels, (across, up) or (across, up, 3), in the panel's place.

    The pixels become square, since JPEG blocks of stretched slices show, and at most `density` a unit.
    """
    picture = Image.fromarray(np.ascontiguousarray(np.swapaxes(pixels, 0, 1)[::-1]))
    finest = max(picture.width / panel.width, picture.height / panel.height)
    each = min(finest, density)
    size = (max(1, round(panel.width * each)), max(1, round(panel.height * each)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=quality, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<image x="{panel.x:.1f}" y="{panel.y:.1f}" width="{panel.width:.1f}" height="{panel.height:.1f}" '
        f'preserveAspectRatio="none" href="data:image/jpeg;base64,{data}"/>'
    )


def outline(mask: np.ndarray, closed: bool = True) -> str:
    """Trace a 2D mask and return path data in half voxels, corners only; '' where it is empty."""
    if not mask.any():
        return ''
    lines = contourpy.contour_generator(z=np.pad(mask, 1).T.astype(np.float32)).lines(0.5)
    return ''.join(_path(np.rint(2 * line - 2).astype(int), closed) for line in lines)


def _path(points: np.ndarray, closed: bool) -> str:
    steps = np.diff(points, axis=0)
    turn = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1)) + 1
    corners = points[np.concatenate(([0], turn, [len(points) - 1]))]
    moves = ' '.join(f'{dx:.4g} {dy:.4g}' for dx, dy in np.diff(corners, axis=0))
    return f'M{corners[0][0]:.4g} {corners[0][1]:.4g}l{moves}{"z" if closed else ""}'


def edges(plane: np.ndarray, inside: np.ndarray, window: tuple[float, float], *, sigma: float = 1.0) -> str:
    """Trace the clear edges of a 2D image near the brain, path data in half voxels.

    Zero crossings of the Laplacian of a Gaussian where a voxel's step is above 4.5 % of the window.
    """
    if not inside.any():
        return ''
    smooth = _blur((plane - window[0]) / max(window[1] - window[0], 1e-12), sigma)
    across, up = np.gradient(smooth)
    slope = np.hypot(across, up)
    curvature = np.gradient(across, axis=0) + np.gradient(up, axis=1)
    clear = (slope > 0.045) & (_blur(inside.astype(float), 2.0) > 0.02)
    paths = []
    for line in contourpy.contour_generator(z=curvature.T).lines(0):
        nearest = np.rint(line).astype(int)
        keep = clear[nearest[:, 0], nearest[:, 1]]
        ends = np.flatnonzero(np.diff(np.concatenate(([0], keep.view(np.int8), [0]))))
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            if stop - start >= 6:
                paths.append(_path(np.rint(20 * line[start:stop:2]).astype(int) / 10, closed=False))
    return ''.join(paths)


def _blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(plane, [(reach, reach) if i == axis else (0, 0) for i in (0, 1)], mode='edge')
        size = plane.shape[axis]
        shifted = (np.take(padded, range(k, k + size), axis) for k in range(len(weights)))
        plane = sum(weight * part for weight, part in zip(weights, shifted, strict=True))
    return plane


def on_panel(content: str, panel: Panel) -> str:
    """Wrap paths given in half voxels of the panel's crop so that they lie on its raster."""
    across, up = (panel.across[1] - panel.across[0]), (panel.up[1] - panel.up[0])
    sx, sy = panel.width / across, panel.height / up
    matrix = f'{sx / 2:.5g} 0 0 {-sy / 2:.5g} {panel.x + sx / 2:.3f} {panel.y + panel.height - sy / 2:.3f}'
    return f'<g transform="matrix({matrix})">{content}</g>'


def marks(panel: Panel) -> str:
    """Write the slice's position and its left and right sides."""
    left, right = AXES[panel.axis][3]
    y = panel.y + panel.height - 6
    return (
        text(panel.x + 6, panel.y + 14, panel.label, fill=FAINT)
        + text(panel.x + 6, y, left)
        + text(panel.x + panel.width - 6, y, right, anchor='end')
    )


def text(x: float, y: float, words: str, *, anchor: str = 'start', fill: str = INK) -> str:
    """Write words at a point of their baseline."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{words}</text>'


def document(body: list[str], height: float, *, title: str, kind: str, style: str = '') -> str:
    """Return a whole SVG document of the fixed width."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bb-figure bb-{kind}" role="img" '
        f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" font-family=\'{FONT}\' font-size="10.5" fill="{INK}">\n'
        f'<title>{title}</title>\n'
        + (f'<style>{style}</style>\n' if style else '')
        + f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>\n'
        + '\n'.join(body)
        + '\n</svg>\n'
    )
