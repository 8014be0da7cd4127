"""Freed memory of a CPU process is kept, so that the next tensor finds it mapped."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30
"""Bytes; glibc takes larger blocks from the system and gives them back at once, whatever is set."""


def keep_freed_memory() -> bool:
    """Lets glibc's allocator reuse what tensors free, instead of giving it back to the system.

    By default each tensor above some 100 KB is mapped anew and its pages are faulted in again, a
    sixth of the time of a small network on a CPU (benchmarks/RESULTS.md). The process then keeps
    its peak. No result depends on it.

    Returns:
        Whether it is so; where libc is another one, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1)
    )
