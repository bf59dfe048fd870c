# SPDX-License-Identifier: Apache-2.0
"""The dataset: which scans there are, their labels, and how outputs are named and described."""
