# SPDX-License-Identifier: Apache-2.0
"""How matplotlib draws for a page: one style, and SVG that takes ink and font from the page around it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = '#0a0b0c'  # stands for the text color of the page
FAINT = '#8a929b'  # grids, bands, what is not the point
ALERT = '#d0574d'
LEFT, RIGHT, MIDLINE = '#3b8fd9', '#e07b39', '#8a929b'  # legible on white and on black
LINES = ('#3b82c4', '#d9772b', '#2f9e6e', '#a45cc4', '#b3372f')  # of one panel
FONT_SIZE = 9.5
STYLE = {
    'svg.fonttype': 'none',
    'font.family': 'sans-serif',
    'font.size': FONT_SIZE,
    'axes.titlesize': FONT_SIZE,
    'axes.linewidth': 0.6,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.grid': True,
    'grid.color': FAINT,
    'grid.alpha': 0.25,
    'legend.frameon': False,
    **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), INK),
}
SVG = 'http://www.w3.org/2000/svg'
CSS_PIXELS = 96  # per inch
STROKES = 'stroke-linejoin: round; stroke-linecap: butt'  # what matplotlib's style sheet says of all elements


@contextmanager
def theme(name: str) -> Iterator[None]:
    """Draw in the style of the pages.

    Parameters
    ----------
    name : str
        Of the figure; ids within it are made from the name and its content, so that the same figure has the
        same bytes and two figures of a page do not share an id.
    """
    with mpl.rc_context(STYLE | {'svg.hashsalt': name}):
        yield


def svg_element(figure: Figure, title: str) -> str:
    """Return a figure as an ``<svg>`` element for a page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn within :func:`theme`; call this there too.
    title : str
        For readers who do not see it.

    Returns
    -------
    str
        The element, of class ``chart``, as wide as its place and no wider than the figure (``--width``). Its
        words are text in the font of the page, its :data:`INK` is ``currentColor``.
    """
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    figure.savefig(stream, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    ElementTree.register_namespace('', SVG)
    ElementTree.register_namespace('xlink', 'http://www.w3.org/1999/xlink')
    root = ElementTree.fromstring(stream.getvalue())
    for size in ('width', 'height', 'version'):
        root.attrib.pop(size, None)
    width = round(CSS_PIXELS * figure.get_figwidth())
    root.attrib |= {'class': 'chart', 'role': 'img', 'style': f'--width: {width}px; {STROKES}'}
    for parent in list(root.iter()):  # a style sheet in a page would hold for the whole page
        for child in [child for child in parent if child.tag in (f'{{{SVG}}}metadata', f'{{{SVG}}}style')]:
            parent.remove(child)
    name = ElementTree.Element(f'{{{SVG}}}title')
    name.text = title
    root.insert(0, name)
    for group in root.iter(
        f'{{{SVG}}}g'
    ):  # axes_1, text_2 ...: the same in every figure, and nobody refers to them
        group.attrib.pop('id', None)
    for text in root.iter(f'{{{SVG}}}text'):
        if 'style' in text.attrib:  # a formula has none: its letters are placed one by one, in their own font
            text.set('style', _page_font(text.get('style')))
    return ElementTree.tostring(root, encoding='unicode').replace(INK, 'currentColor')


def _page_font(style: str) -> str:
    """Keep size, slant and weight of a font, and leave the family to the page.

    >>> _page_font("font-size: 8px; font-family: 'DejaVu Sans', sans-serif; text-anchor: middle")
    'font-size: 8px; text-anchor: middle'
    >>> _page_font("font: italic 8px 'DejaVu Sans', sans-serif")  # as older versions write it
    'font-style: italic; font-size: 8px'
    """
    declarations = []
    for declaration in filter(None, (part.strip() for part in style.split(';'))):
        name, _, value = (part.strip() for part in declaration.partition(':'))
        if name == 'font':
            *faces, size = value.split('px')[0].split()
            for face in faces:
                kind = 'style' if face in ('italic', 'oblique') else 'weight'
                declarations.append(f'font-{kind}: {face}')
            declarations.append(f'font-size: {size}px')
        elif name != 'font-family':
            declarations.append(declaration)
    return '; '.join(declarations)
