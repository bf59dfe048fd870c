# SPDX-License-Identifier: Apache-2.0
"""The command line: the parser parses, the runner runs."""
