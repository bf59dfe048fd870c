# SPDX-License-Identifier: Apache-2.0
"""The agreement of a segmentation with reference labels: its table, and the document that describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..bids.sidecars import output_rules, sidecar
from ..data import label_table
from ..records import ImageRecord, Provenance

if TYPE_CHECKING:
    import pandas as pd


def agreement_table(
    dice: Sequence[float], assd: Sequence[float], volume: Sequence[float], reference: Sequence[float]
) -> pd.DataFrame:
    """Make the table of one scan.

    Parameters
    ----------
    dice, assd, volume, reference : sequence of 28 float
        By class index, background first (it is left out): Dice; surface distance, mm; volumes of the
        segmentation and of the reference labels, mm3.

    Returns
    -------
    pandas.DataFrame
        27 structures with the columns of ``agreement_columns`` in ``outputs.json``.
    """
    import pandas as pd  # slow, and every worker imports this module

    rows = [
        (x.index, x.name, x.hemisphere, dice[x.index], assd[x.index], volume[x.index], reference[x.index])
        for x in label_table()[1:]
    ]
    return pd.DataFrame(rows, columns=list(output_rules()['agreement_columns']))


def agreement_document(
    record: ImageRecord, *, averages: Mapping[str, float], labels: str, provenance: Provenance
) -> dict:
    """Describe the table of one scan: its columns, its averages, and where both segmentations come from."""
    return {
        **output_rules()['agreement_columns'],
        **sidecar(record, suffix='agreement', provenance=provenance),
        'Averages': dict(averages),
        'AverageDefinitions': output_rules()['agreement_averages'],
        'ReferenceLabels': labels,
    }
