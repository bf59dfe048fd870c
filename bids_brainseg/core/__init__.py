# SPDX-License-Identifier: Apache-2.0
"""Pure numerics: arrays in, arrays out. No path, no file format, no framework."""
