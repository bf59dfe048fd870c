# SPDX-License-Identifier: Apache-2.0
"""Nipype nodes: each loads, makes one call into the rooms below, and saves."""
