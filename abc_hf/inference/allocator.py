"""Settings of glibc for freed memory."""

import contextlib
import ctypes


def keep_freed_memory(most: int = 2**30):
    """Have glibc keep freed memory, up to `most` bytes (below 2 GiB), for the next features of the network.

    By default glibc hands blocks of more than 32 MiB back to the system. Getting that memory back costs as much time as
    half the layers. The setting works for the main thread; the arenas of other threads still give memory back.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems have no such settings
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, most // 4)  # M_MMAP_THRESHOLD: a larger block, such as a huge photo, is still handed back
        mallopt(-1, most)  # M_TRIM_THRESHOLD


def one_arena():
    """Have later threads share the memory arena of the main thread. Call this when a server starts.

    By default glibc gives threads arenas of their own, up to eight per core, and memory freed in one arena serves no
    other. Existing arenas stay in use: importing Gradio makes one, and loading weights makes more. Without glibc
    nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
