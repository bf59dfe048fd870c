# SPDX-License-Identifier: Apache-2.0
"""Networks, bundles, prediction and training.

Importing this package does not import Keras; ``bundle`` never does.
"""
