# SPDX-License-Identifier: Apache-2.0
"""The first import of the process that workers are forked from, and of no other.

It ends with the command that started it, and the workers end with it.
"""

from __future__ import annotations

import os

from ..lifetime import end_forks_with_this, end_with_parent

end_with_parent(os.getppid())
end_forks_with_this()
