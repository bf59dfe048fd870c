# SPDX-License-Identifier: Apache-2.0
"""The 3D U-Net, its bundles, and Monte-Carlo prediction.

Importing this package does not import Keras; ``bundle`` never does.
"""
