# SPDX-License-Identifier: Apache-2.0
"""The plots of an evaluation: tables in, SVG out.

Three of them are figures of Zopes et al. (2021, doi:10.3389/fneur.2021.653375) for one's own scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.calibration import roc
from ..data import label_table, modalities
from .theme import FAINT, INK, LINES, svg_element, theme


def dice_plot(structures) -> str:
    """Draw the Dice of every structure by modality, with quartiles (Zopes et al., Figure 2).

    Parameters
    ----------
    structures : pandas.DataFrame
        The long table, without corrupted scans: modality, index, dice.

    Returns
    -------
    str
        SVG.
    """
    labels = label_table()[1:]
    names = list(dict.fromkeys(structures['modality']))
    with theme('dice'):
        figure = Figure((12.4, 4.6))
        axes = figure.add_axes((0.1, 0.36, 0.895, 0.57))
        width = 0.8 / len(names)
        for position, modality in enumerate(names):
            rows = structures[structures['modality'] == modality]
            values = [rows.loc[rows['index'] == label.index, 'dice'].dropna().to_numpy() for label in labels]
            centers = np.arange(len(labels)) + (position - (len(names) - 1) / 2) * width
            color = modalities()[modality].color
            _boxes(axes, values, centers, 0.8 * width, color)
            axes.plot([], [], color=color, lw=6, label=f'{modality} ({rows["scan"].nunique()} scans)')
        axes.set(xlim=(-0.6, len(labels) - 0.4), ylim=(0, 1.005), ylabel='Dice')
        axes.set_xticks(
            range(len(labels)), [label.name.replace('-', ' ') for label in labels], rotation=45, ha='right'
        )
        axes.grid(axis='x', visible=False)
        axes.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=4)
        return svg_element(figure, 'Dice by structure')


def uncertainty_plot(scans, summary: Mapping) -> str:
    """Draw D_A against the mean CV of each scan (Zopes et al., Figure 5); corrupted scans as crosses.

    Parameters
    ----------
    scans : pandas.DataFrame
        modality, corrupted, cv_mean (%), D_A.
    summary : mapping
        ``modalities`` of :func:`bids_brainseg.results.evaluation.summarize_evaluation`.

    Returns
    -------
    str
        SVG; '' if no scan has a CV.
    """
    scans = scans[scans['cv_mean'].notna() & scans['D_A'].notna()]
    names = list(dict.fromkeys(scans['modality']))
    if not names:
        return ''
    with theme('uncertainty'):
        figure = Figure((3.3 * max(len(names), 2), 3.4), layout='constrained')
        for position, modality in enumerate(names):
            axes = figure.add_subplot(1, max(len(names), 2), position + 1)
            rows, color = scans[scans['modality'] == modality], modalities()[modality].color
            clean, corrupted = rows[rows['corrupted'].isna()], rows[rows['corrupted'].notna()]
            axes.plot(corrupted['cv_mean'], corrupted['D_A'], 'x', ms=4.5, color=FAINT, label='corrupted')
            axes.plot(clean['cv_mean'], clean['D_A'], 'o', ms=5.5, color=color, label='original')
            if len(rows) > 2 and np.ptp(rows['cv_mean']) > 0:
                slope, offset = np.polyfit(rows['cv_mean'], rows['D_A'], 1)
                ends = np.array([rows['cv_mean'].min(), rows['cv_mean'].max()])
                axes.plot(ends, offset + slope * ends, color=color, lw=1)
            axes.set(title=f'{modality}: {_correlation(summary[modality])}', xlabel='mean CV, %')
            if position == 0:
                axes.set_ylabel('mean Dice $D_A$')
            if len(corrupted):
                axes.legend(fontsize=8)
        return svg_element(figure, 'Mean Dice against the spread of the volumes')


def roc_plot(scans, calibrations: Mapping) -> str:
    """Draw how well each quality number predicts bad segmentations, one panel for each modality.

    Parameters
    ----------
    scans : pandas.DataFrame
        modality, D_A and the quality numbers.
    calibrations : mapping
        Modality to ``calibration`` of the summary.

    Returns
    -------
    str
        SVG; '' if no number could be judged.
    """
    usable = {
        name: [key for key, predictor in entry['predictors'].items() if predictor['youden']]
        for name, entry in calibrations.items()
    }
    usable = {name: keys for name, keys in usable.items() if keys}
    if not usable:
        return ''
    with theme('roc'):
        figure = Figure((4.2 * max(len(usable), 2), 3.7), layout='constrained')
        for position, (modality, keys) in enumerate(usable.items()):
            axes = figure.add_subplot(1, max(len(usable), 2), position + 1)
            entry, rows = calibrations[modality], scans[scans['modality'] == modality]
            axes.plot([0, 1], [0, 1], ':', color=FAINT, lw=1)
            for key, color in zip(keys, LINES, strict=False):
                known = rows[rows[key].notna() & rows['D_A'].notna()]
                predictor = entry['predictors'][key]
                curve = roc(
                    known[key], known['D_A'] < entry['acceptable_D_A'], above=predictor['bad_when'] == 'above'
                )
                axes.step(
                    1 - curve.specificity, curve.sensitivity, where='post', color=color, lw=1.6,
                    label=f'{key}, AUC {predictor["auc"]:.2f}',
                )  # fmt: skip
            axes.set(
                title=f'{modality}: $D_A$ below {entry["acceptable_D_A"]:.2f}',
                xlabel='good scans flagged', ylabel='bad scans flagged',
                xlim=(-0.02, 1.02), ylim=(-0.02, 1.02),
            )  # fmt: skip
            axes.legend(fontsize=8, loc='lower right')
        return svg_element(figure, 'ROC curves')


def study_plot(runs: Sequence[Mapping], kind: str = 'scaling') -> str:
    """Draw D_A of the networks of a study, every test scan as a point.

    Parameters
    ----------
    runs : sequence of mapping
        ``modality``, ``training_scans``, ``D_A`` (mapping with median, q1 and q3), ``test_scans`` (mappings
        with D_A).
    kind : {'scaling', 'equal-size'}
        Against the number of training scans, one line for each modality (Zopes et al., Figure 3), or side
        by side.

    Returns
    -------
    str
        SVG; '' without runs.
    """
    if not runs:
        return ''
    with theme('study'):
        figure = Figure((7, 3.6), layout='constrained')
        axes = figure.add_subplot()
        (_side_by_side if kind == 'equal-size' else _against_size)(axes, runs)
        axes.set_ylabel('mean Dice $D_A$')
        return svg_element(figure, 'Mean Dice by training set')


def _against_size(axes: Axes, runs: Sequence[Mapping]) -> None:
    for modality in dict.fromkeys(run['modality'] for run in runs):
        of_modality = sorted(
            (run for run in runs if run['modality'] == modality), key=lambda run: run['training_scans']
        )
        x = [run['training_scans'] for run in of_modality]
        middle, low, high = ([run['D_A'][key] for run in of_modality] for key in ('median', 'q1', 'q3'))
        color = modalities()[modality].color
        spread = np.array([np.subtract(middle, low), np.subtract(high, middle)])
        axes.errorbar(x, middle, spread, fmt='o-', ms=5, lw=1.4, capsize=3, color=color, label=modality)
        for run in of_modality:
            values = _dice_of(run)
            axes.plot([run['training_scans']] * len(values), values, '_', ms=9, color=color, alpha=0.6)
    sizes = sorted({run['training_scans'] for run in runs})
    axes.set_xscale('log')
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel('training scans')
    axes.legend()


def _side_by_side(axes: Axes, runs: Sequence[Mapping]) -> None:
    for position, run in enumerate(runs):
        _boxes(axes, [np.asarray(_dice_of(run))], [position], 0.45, modalities()[run['modality']].color)
    names = [f'{run["modality"]}\n{run["training_scans"]} training scans' for run in runs]
    axes.set_xticks(range(len(runs)), names)
    axes.set_xlim(-0.6, len(runs) - 0.4)
    axes.grid(axis='x', visible=False)


def _dice_of(run: Mapping) -> list[float]:
    """List D_A of the test scans that have one (JSON holds null or n/a for the others)."""
    values = [scan['D_A'] for scan in run['test_scans']]
    return [value for value in values if isinstance(value, float | int) and np.isfinite(value)]


def _boxes(
    axes: Axes, values: Sequence[np.ndarray], centers: Sequence[float], width: float, color: str
) -> None:
    """Draw boxes of quartiles and every scan as a point, since few scans make a box that says little."""
    filled = [(center, points) for center, points in zip(centers, values, strict=True) if len(points)]
    if not filled:
        return
    axes.boxplot(
        [points for _, points in filled], positions=[center for center, _ in filled], widths=width,
        manage_ticks=False,
        patch_artist=True, showfliers=False, medianprops={'color': INK, 'lw': 1.2},
        boxprops={'facecolor': color, 'alpha': 0.45, 'edgecolor': color},
        whiskerprops={'color': color}, capprops={'color': color},
    )  # fmt: skip
    for center, points in filled:
        axes.plot(np.full(len(points), center), points, 'o', ms=2.2, color=color, alpha=0.8)


def _correlation(part: Mapping) -> str:
    """Write r with its interval, over corrupted scans too where there are any."""
    correlation = part['D_A_against_CV']
    if 'calibration' in part and 'cv_mean' in part['calibration']['predictors']:
        correlation = part['calibration']['predictors']['cv_mean']['correlation_with_D_A']
    if not np.isfinite(correlation['r']):
        return f'{correlation["n"]} scans'
    interval = (
        f' [{correlation["low"]:.2f}, {correlation["high"]:.2f}]' if np.isfinite(correlation['low']) else ''
    )
    return f'r = {correlation["r"]:.2f}{interval}'
