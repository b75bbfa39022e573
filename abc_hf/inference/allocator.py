# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What glibc does with freed memory."""

import contextlib
import ctypes


def keep_freed_memory(most: int = 2**30):
    """Have glibc keep freed memory, up to `most` bytes (below 2 GiB), for the next features of the network.

    It would hand blocks of more than 32 MiB back to the system, and to have them anew, page by page, takes as long as
    half of the layers. This is so for the main thread of the process; other threads have arenas that give back.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems have their own ways
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, most // 4)  # M_MMAP_THRESHOLD: a block as large as this, a huge photo for one, is still handed back
        mallopt(-1, most)  # M_TRIM_THRESHOLD


def one_arena():
    """Have threads that begin later take memory where the main thread does. For the start of a server: by itself, glibc
    gives threads arenas of their own, up to eight per core, and what is freed in one serves no other.

    Arenas that exist stay in use, and importing Gradio makes one, loading weights more. Without glibc, nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
