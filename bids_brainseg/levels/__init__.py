# SPDX-License-Identifier: Apache-2.0
"""What each level of the command does."""
