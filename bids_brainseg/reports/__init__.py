# SPDX-License-Identifier: Apache-2.0
"""The report: figures (arrays to SVG), fragments (numbers to HTML), assembly (one page per subject)."""
