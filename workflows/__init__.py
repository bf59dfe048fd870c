# SPDX-License-Identifier: Apache-2.0
"""The graph: factories that connect nodes, and the one place that hands the graph to nipype's scheduler."""
