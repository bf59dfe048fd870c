# SPDX-License-Identifier: Apache-2.0
"""The asymmetry of a structure has one sign wherever a reader meets it: positive where the left is larger."""

from __future__ import annotations

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.figures import volumes_chart
from bids_brainseg.pages.scan_view import volumes_table
from bids_brainseg.records import ScanResult
from bids_brainseg.results.group_measures import NAMES, measure_group, pairs

VOLUMES = {'Left-Caudate': 1100.0, 'Right-Caudate': 900.0, 'Left-Putamen': 900.0, 'Right-Putamen': 1100.0}
PERCENT = {'Caudate': 20.0, 'Putamen': -20.0}


@pytest.fixture
def rows():
    labels = label_table()[1:]
    table = [{'index': str(x.index), 'name': x.name, 'volume_mm3': VOLUMES.get(x.name, 1e3)} for x in labels]
    return [{**row, 'mc_mean_mm3': 1e3, 'mc_std_mm3': 10.0, 'cv_mc': 1.0, 'flag': 'n/a'} for row in table]


def in_group(rows):
    by_name = {row['name']: row for row in rows}
    volumes = [{'volume_mm3': by_name.get(name, {'volume_mm3': 1.5e6})['volume_mm3']} for name in NAMES]
    scan = ScanResult('sub-1_T1w', 'T1w', 'T1w', '1', None, {}, qc={'verdict': 'pass'}, rows=volumes)
    measures = measure_group([scan])
    return {name: measures.asymmetry[0, left] for name, (left, _) in pairs().items()}


def on_page(rows):
    paired = volumes_table(rows).paired
    return {row.name: float(row.asymmetry.replace('\N{MINUS SIGN}', '-')) for row in paired}


def in_chart(rows):
    return {line.name: volumes_chart._asymmetry(line) for line in volumes_chart._chart_rows(rows)}


@pytest.mark.parametrize('shown', [in_group, on_page, in_chart])
def test_asymmetry_is_positive_where_the_left_is_larger(shown, rows):
    percent = shown(rows)
    assert {name: percent[name] for name in PERCENT} == pytest.approx(PERCENT)
