# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Photos opened and prepared in processes of their own, ahead of the network."""

import contextlib
import io
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import imagehash
from PIL import Image

from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from ..inference.loading import no_model
from ..photos import PhotoError
from ..pipeline import prepare
from .find import PARQUET, Found, Reader, sha256, split_member

THUMBNAIL_SIDE = 320
"""The long side of a thumbnail [pixels]."""
AHEAD = 8
"""Photos that are prepared ahead, per worker."""


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
        content, name = None, path
        try:
            with self.reader.photo(path) if data is None else contextlib.nullcontext(data) as photo:
                name = photo if isinstance(photo, str) else "the given bytes"
                prepared = prepare(photo, self.image_processor)
                if self.hash_content and "error" not in prepared:
                    content = sha256(photo)
        except (PhotoError, OSError) as error:
            prepared = {"error": error}
        if "error" in prepared:
            return failed(str(prepared["error"]).removeprefix(f"{name}: "), path)
        preview = prepared["preview"]
        return prepared | {
            "pixel_values": prepared["pixel_values"].numpy(),  # a tensor would go through shared memory, often small
            "thumbnail": thumbnail(preview),
            "perceptual_hash": str(imagehash.phash(preview)),
            "taken": preview.info.get("taken"),
            "camera": preview.info.get("camera"),
            "content": content,
        }


def failed(error: Exception | str, path: str) -> dict:
    """What `Preparer` makes of a photo that cannot be opened."""
    return {"error": str(error).removeprefix(f"{path}: ").encode("utf-8", "backslashreplace").decode()}


def thumbnail(preview: Image.Image) -> bytes:
    small = preview.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    small.save(file, "jpeg", quality=80)
    return file.getvalue()


class Workers:
    """Prepares photos in processes of its own, a few ahead. One that takes its worker down (damaged beyond what a
    decoder can bear, or too large for the memory) is tried again alone, and is an error if it does so again.

    Args:
        number: of processes; 0 for none but this one, None for one for every two cores.
        model, hash_content: as in `Preparer`.
    """

    def __init__(self, model: Path, number: int | None = None, hash_content: bool = False):
        self.number = max(1, cores() // 2) if number is None else number
        self.arguments, self.pool = (model, hash_content), None
        self.here = Preparer(*self.arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Begin to start the processes, which takes some seconds."""
        if self.number and self.pool is None:
            self.pool = new_pool(self.number, self.arguments)
            self.pool.submit(int)

    def stop(self):
        self.here.reader.close()
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None

    def prepared(self, photos: Iterable[Found]) -> Iterator[tuple[Found, dict]]:
        """The photos in their order, with what `Preparer` makes of them."""
        if not self.number:
            yield from ((photo, self.here(photo.path)) for photo in photos)
            return
        waiting = deque()
        for photo in photos:
            waiting.append((photo, self.submit(photo)))
            if len(waiting) > AHEAD * self.number:
                yield self.result(*waiting.popleft())
        while waiting:
            yield self.result(*waiting.popleft())

    def submit(self, photo: Found) -> Future:
        """A photo in a Parquet file is read here: rows can only be read one after the other, and each of the workers
        would have to read them all."""
        data, (file, row) = None, split_member(photo.path)
        if row and file.lower().endswith(PARQUET):
            try:
                data = self.here.reader.read(file, row)
            except PhotoError as error:
                future = Future()
                future.set_result(failed(error, photo.path))
                return future
        self.start()
        try:
            return self.pool.submit(prepare_in_worker, photo.path, data)
        except BrokenProcessPool:
            self.stop()
            return self.submit(photo)

    def result(self, photo: Found, future: Future) -> tuple[Found, dict]:
        with contextlib.suppress(BrokenProcessPool):
            return photo, future.result()
        with new_pool(1, self.arguments) as alone, contextlib.suppress(BrokenProcessPool):
            return photo, alone.submit(prepare_in_worker, photo.path).result()
        return photo, {"error": "opening it ends the process; it is damaged, or too large for the memory there is."}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_pool(number: int, arguments: tuple) -> ProcessPoolExecutor:
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")  # threads and accelerators do not survive a fork
        context.set_forkserver_preload([__name__])
    else:
        context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, context, start_worker, arguments)


def start_worker(*arguments):
    """Make this process a worker: Ctrl-C is for its parent, and it does not outlive that."""
    global prepare_in_worker_by
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    prepare_in_worker_by = Preparer(*arguments)


def end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def prepare_in_worker(path: str, data: bytes | None = None) -> dict:
    return prepare_in_worker_by(path, data)
