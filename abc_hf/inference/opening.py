"""Photos opened within the limits of `processes`: the door of all commands, of the demo and of `load_pipeline`."""

import atexit
import os
import subprocess
import sys
from collections import defaultdict
from multiprocessing.connection import Connection

from PIL import Image

from .. import faces, photos
from ..photos import PhotoError, name_of
from . import processes

IDLE: dict[int, list["Opener"]] = defaultdict(list)
"""The processes that wait for a photo, by the number of the process that started them: a fork does not share them."""


class Opener(processes.Worker):
    """A process that opens photos. Its start takes a fifth of a second, because it imports Pillow and NumPy alone; and
    unlike those of `multiprocessing` it does not run the user's script again."""

    def __init__(self):
        super().__init__(opened)

    def launch(self, pipe: Connection) -> subprocess.Popen:
        code = f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; from {__name__} import serve; "
        code += f"serve({pipe.fileno()}, {processes.CPU_SECONDS}, {processes.MEMORY})"
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[pipe.fileno()], process_group=0)

    def status(self) -> int:
        return self.process.wait()

    def stop(self):
        super().stop()
        if self.process is not None:
            self.process.wait()
            self.pipe.close()


def serve(pipe: int, seconds: float, memory: int):
    """The work of the process. `pipe` is the number of the open file that is its end of the pipe."""
    faces.detector()  # its import takes no photo's time
    processes.answer_calls(Connection(pipe), opened, seconds, memory)


def opened(photo: str | bytes, options: dict) -> Image.Image:
    try:
        return photos.load_photo(photo, **options)
    except PhotoError as error:
        raise PhotoError(str(error).removeprefix(f"{name_of(photo)}: ")) from None


def load_photo(photo, **options) -> Image.Image:
    """`abc_hf.photos.load_photo`, which opens files and bytes in a process within limits of time and memory. Raises
    PhotoError as that does, and for a photo that takes more than `processes.CPU_SECONDS` or `processes.MEMORY`."""
    name = name_of(photo)
    try:
        photo = photos.path_or_bytes(photo)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from None
    if processes.WITHIN_LIMITS or not isinstance(photo, str | os.PathLike | bytes | bytearray | memoryview):
        return photos.load_photo(photo, **options)
    if isinstance(photo, str | os.PathLike):
        given = os.path.join(os.getcwd(), photo) if str(photo) and not os.path.isabs(photo) else str(photo)
    else:
        given = bytes(photo)
    opener = next_opener()
    try:
        return opener(given, options)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from None
    except BaseException:  # the answer to an interrupted call would be taken for that to the next one
        opener.stop()
        raise
    finally:
        if not opener.stopped:
            IDLE[os.getpid()].append(opener)


def next_opener() -> Opener:
    try:
        return IDLE[os.getpid()].pop()
    except IndexError:
        return Opener()


def start():
    """Begin to start the process, so that it is there when the first photo is opened."""
    if not processes.WITHIN_LIMITS:
        opener = next_opener()
        opener.start()
        IDLE[os.getpid()].append(opener)


@atexit.register
def stop():
    for opener in IDLE.pop(os.getpid(), []):
        opener.stop()
