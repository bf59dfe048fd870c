# SPDX-License-Identifier: Apache-2.0
"""Training pairs, the training loop, checkpoints, and the run from a plan to a bundle."""
