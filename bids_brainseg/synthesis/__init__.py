# SPDX-License-Identifier: Apache-2.0
"""From a label map to a synthetic scan: the generative model that training pairs come from."""
