# SPDX-License-Identifier: Apache-2.0
"""The outputs of finished runs, read back, and what is computed from many of them."""
