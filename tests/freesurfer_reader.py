# SPDX-License-Identifier: Apache-2.0
"""How FreeSurfer's own program ``asegstats2table`` reads statistics and writes a table.

The rules were learned from version 7 of it, whose tables of our files these functions repeat letter by
letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

#: Place of a measure in a row of a structure.
COLUMNS = {'nvoxels': 2, 'volume': 3, 'mean': 5, 'std': 6, 'max': 8}
#: Key, field and column of the global measures that it knows; the rest of a file's is left out.
MEASURES = (
    *((f'{side}{kind}', f'{side}{kind}Vol') for kind in ('Cortex', 'CerebralWhiteMatter')
      for side in ('lh', 'rh', '')),
    *((kind, f'{kind}Vol') for kind in ('SubCortGray', 'TotalGray', 'SupraTentorial', 'BrainSeg')),
    ('SupraTentorialNotVent', 'SupraTentorialVolNotVent'), ('BrainSegNotVent', 'BrainSegVolNotVent'),
    ('BrainSegVol-to-eTIV', 'BrainSegVol-to-eTIV'), ('EstimatedTotalIntraCranialVol', 'eTIV'),
)  # fmt: skip
#: The one whose column is not called by its field.
RENAMED = {'eTIV': 'EstimatedTotalIntraCranialVol'}


def read_measures(path: Path, measure: str = 'volume') -> dict[str, float]:
    """Read structures, by the place of a cell, then global measures, by how a line begins.

    A row has no sign # in it; its fifth word is the name. The fourth part of a global measure, between
    commas, is the value.
    """
    lines = Path(path).read_text().splitlines()
    rows = [line.split() for line in lines if '#' not in line]
    found = {row[4]: float(row[COLUMNS[measure]]) for row in rows}
    for line in lines if measure == 'volume' else ():
        for key, field in MEASURES:
            if line.startswith(f'# Measure {key}, {field},'):
                found[RENAMED.get(field, field)] = float(line.split(',')[3])
    return found


def make_table(paths: Iterable[Path], measure: str = 'volume') -> list[list[str]]:
    """Write the cells of the table, one row per file, which has a number as its name.

    Files of different structures or measures are refused.
    """
    found = [read_measures(path, measure) for path in paths]
    assert len({tuple(one) for one in found}) == 1, 'all files should have the same segmentations'
    head = [f'Measure:{measure}', *found[0]]
    return [head, *([str(number), *map(str, one.values())] for number, one in enumerate(found))]
