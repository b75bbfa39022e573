# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Photos opened and prepared in processes of their own, ahead of the network, within limits of time and memory."""

import contextlib
import io
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import imagehash
import torch
from PIL import Image

from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from ..inference.loading import no_model
from ..photos import PhotoError, reason
from ..pipeline import prepare
from .find import PARQUET, Found, Reader, sha256, split_member

THUMBNAIL_SIDE = 320
"""The long side of a thumbnail [pixels]."""
AHEAD = 8
"""Photos that are prepared ahead, per worker."""
CPU_SECONDS = 30
"""The most CPU time that a worker process may take for one photo [s]; the process is ended then."""
MEMORY = 4 * 2**30
"""The most memory that a worker process may take for a photo, beyond what the process takes itself [bytes]. Only Linux
keeps this limit."""


ENDED = "it was not opened, because the run ends."


class Preparer:
    """Opens photos and makes of them what the network and the report need.

    Args:
        model: the folder of the model, which says how photos are prepared.
        hash_content: take the SHA-256 of files, too.
    """

    def __init__(self, model: Path, hash_content: bool = False):
        try:
            self.image_processor = ABCFuseNetImageProcessor.from_pretrained(model)
        except Exception as error:
            raise no_model(model, error) from error
        self.hash_content, self.reader = hash_content, Reader()

    def __call__(self, path: str, data: bytes | None = None) -> dict:
        """What `prepare` returns, its pixels as NumPy; "thumbnail", JPEG bytes; and of the table's columns taken,
        camera, perceptual_hash and content. Or "error", the reason alone.

        Args:
            data: the photo's file, if it has been read.
        """
        name = path
        try:
            with self.reader.photo(path) if data is None else contextlib.nullcontext(data) as photo:
                name = photo if isinstance(photo, str) else "the given bytes"
                prepared = prepare(photo, self.image_processor)
                if "error" in prepared:
                    raise prepared["error"]
                content = sha256(photo) if self.hash_content else None
            preview = prepared["preview"]
            return prepared | {
                "pixel_values": prepared[
                    "pixel_values"
                ].numpy(),  # a tensor would go through shared memory, often small
                "thumbnail": thumbnail(preview),
                "perceptual_hash": str(imagehash.phash(preview)),
                "taken": preview.info.get("taken"),
                "camera": preview.info.get("camera"),
                "content": content,
            }
        except Exception as error:  # whatever it is, the other photos go on
            return failed(error, name, path)


def failed(error: Exception, *names: str) -> dict:
    """What `Preparer` makes of a photo that cannot be opened: the reason, without the photo's name before it."""
    sentence = reason(error)
    for name in names:
        sentence = sentence.removeprefix(f"{name}: ")
    return {"error": sentence.encode("utf-8", "backslashreplace").decode()}


def thumbnail(preview: Image.Image) -> bytes:
    small = preview.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    small.save(file, "jpeg", quality=80)
    return file.getvalue()


class Worker:
    """A process that calls a function. A call that takes too much CPU time, or crashes, ends this process alone, and
    the next call starts another one.

    Args:
        make, arguments: `make(*arguments)` is called in the process and returns the function.
    """

    def __init__(self, make: Callable[..., Callable], arguments: tuple):
        self.make, self.arguments, self.stopped = make, arguments, False
        self.process: Any = None

    def start(self):
        """Begin to start the process, which takes some seconds."""
        if self.process is None and not self.stopped:
            context = start_context()
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=work, args=(theirs, self.make, self.arguments), daemon=True)
            self.process.start()
            theirs.close()

    def stop(self):
        self.stopped = True
        if self.process is not None:
            self.process.kill()

    def __call__(self, *arguments):
        """The function's answer, or its error.

        Raises:
            PhotoError: if the process ended.
        """
        for last in (False, True):
            if self.stopped:
                raise PhotoError(ENDED)
            self.start()
            try:
                self.pipe.send(arguments)
                answer = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join()
                status = self.process.exitcode
                self.process.close()
                self.pipe.close()
                self.process = None
                if self.stopped:
                    raise PhotoError(ENDED) from None
                if status == -getattr(signal, "SIGPROF", 0):
                    raise PhotoError(f"opening it takes more than {CPU_SECONDS} seconds of CPU time.") from None
                if last:
                    raise PhotoError(
                        "opening it ends the process; it is damaged, or too large for the memory there is."
                    ) from None
                continue  # the memory may have been short for a moment
            if isinstance(answer, Exception):
                raise answer
            return answer


class Processes:
    """Some workers with the same function.

    Args:
        number: of processes.
        make, arguments: as in `Worker`.
    """

    def __init__(self, number: int, make: Callable[..., Callable], arguments: tuple):
        self.workers = [Worker(make, arguments) for _ in range(number)]
        self.threads = ThreadPoolExecutor(number)
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)
            worker.start()

    def submit(self, *arguments) -> Future:
        """Call the function in the next process that is idle. An argument may be a `Future`, whose result is meant."""
        return self.threads.submit(self.call, arguments)

    def call(self, arguments: tuple):
        values = [each.result() if isinstance(each, Future) else each for each in arguments]
        worker = self.idle.get()
        try:
            return worker(*values)
        finally:
            self.idle.put(worker)

    def stop(self):
        for worker in self.workers:
            worker.stop()
        self.threads.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Workers:
    """Prepares photos in processes of its own, a few ahead. A photo that ends its process is an error, and no other
    photo suffers.

    Args:
        number: of processes; 0 for none but this one, None for one for every two cores.
        model, hash_content: as in `Preparer`.
    """

    def __init__(self, model: Path, number: int | None = None, hash_content: bool = False):
        self.number = max(1, cores() // 2) if number is None else number
        self.arguments = (model, hash_content)
        self.preparers: Processes | None = None
        self.rows: Processes | None = None
        self.here = Preparer(*self.arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Begin to start the processes, which takes some seconds."""
        if self.number and self.preparers is None:
            self.preparers = Processes(self.number, Preparer, self.arguments)

    def stop(self):
        self.here.reader.close()
        for processes in filter(None, (self.rows, self.preparers)):
            processes.stop()
        self.preparers = self.rows = None

    def prepared(self, photos: Iterable[Found]) -> Iterator[tuple[Found, dict]]:
        """The photos in their order, with what `Preparer` makes of them."""
        if not self.number:
            yield from ((photo, self.here(photo.path)) for photo in photos)
            return
        waiting: deque[tuple[Found, Future]] = deque()
        for photo in photos:
            waiting.append((photo, self.submit(photo)))
            if len(waiting) > AHEAD * self.number:
                yield self.result(*waiting.popleft())
        while waiting:
            yield self.result(*waiting.popleft())

    def submit(self, photo: Found) -> Future:
        """One more process reads the rows of Parquet files, because they can only be read one after the other."""
        self.start()
        assert self.preparers
        file, row = split_member(photo.path)
        if not (row and file.lower().endswith(PARQUET)):
            return self.preparers.submit(photo.path)
        if self.rows is None:
            self.rows = Processes(1, RowReader, ())
        return self.preparers.submit(photo.path, self.rows.submit(file, row))

    def result(self, photo: Found, future: Future) -> tuple[Found, dict]:
        try:
            return photo, future.result()
        except Exception as error:
            return photo, failed(error, photo.path)


class RowReader:
    """Reads the rows of Parquet files."""

    def __init__(self):
        self.reader = Reader()

    def __call__(self, file: str, row: str) -> bytes:
        return self.reader.read(file, row)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_context() -> Any:
    """How processes start; threads and accelerators do not survive a fork."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return context
    return multiprocessing.get_context("spawn")


def work(pipe: Connection, make: Callable[..., Callable], arguments: tuple):
    """What a worker process does: it answers calls. Ctrl-C is for its parent, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    function = make(*arguments)
    limit_memory()
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        with limited_time():
            try:
                answer = function(*arguments)
            except Exception as error:
                answer = PhotoError(reason(error))
        pipe.send(answer)


def limit_memory():
    """Let this process have `MEMORY` more than it has now: what asks for more gets a MemoryError."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@contextlib.contextmanager
def limited_time() -> Iterator[None]:
    """End this process if it takes more than `CPU_SECONDS` in here; Windows has no such timer."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def end_with_parent():
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
