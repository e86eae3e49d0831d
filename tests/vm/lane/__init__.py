# SPDX-License-Identifier: BSL-1.0
"""The parts of the `vm` program, one job a file."""


class LaneError(Exception):
    """Something the caller must know, as one plain sentence."""
