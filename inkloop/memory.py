"""The C library's memory: what training frees is kept for the next step, which asks for the same again."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MOST_BYTES = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks, however large; elsewhere nothing is changed.

    By default it hands large ones back to the kernel, which clears every page of the next: half the time of a step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MOST_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, MOST_BYTES)
