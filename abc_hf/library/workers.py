"""Photos opened and prepared in processes of their own, ahead of the network, within limits of time and memory."""

import contextlib
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import imagehash
import torch
from PIL import Image

from ..exif import SETTINGS
from ..faces import detector
from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from ..inference.loading import no_model
from ..inference.opening import load_photo
from ..inference.processes import Processes, cores
from ..photos import name_of, reason
from ..pipeline import prepare
from .containers import PARQUET, Reader, sha256, split_member
from .find import Found
from .xmp import XmpError, marks_in

THUMBNAIL_SIDE = 320
"""The long side of a thumbnail [pixels]."""
AHEAD = 8
"""Photos that are prepared ahead, per worker."""
JUDGES = 8
"""The most threads that judge at the same time on a CPU."""


class Preparer:
    """Opens photos and prepares them for the network and the report, as the folder of a model says. With `hash_content`
    it also takes the SHA-256 of files."""

    def __init__(self, model: Path, hash_content: bool = False):
        try:
            self.image_processor = ABCFuseNetImageProcessor.from_pretrained(model)
        except Exception as error:
            raise no_model(model, error) from error
        self.hash_content, self.reader = hash_content, Reader()
        detector()  # its import takes no photo's time

    def __call__(self, path: str, data=None) -> dict:
        """The result of `prepare`, its pixels as NumPy; "thumbnail", JPEG bytes; the columns of the table that come
        from the file; perceptual_hash and content. Or "error", the reason alone. `data` is the photo's file, or
        whatever else `load_photo` takes, if it has been read."""
        name = path
        try:
            with self.reader.photo(path) if data is None else contextlib.nullcontext(data) as photo:
                name = name_of(photo)
                prepared = prepare(photo, self.image_processor, load_photo, look_closely=True)
                if "error" in prepared:
                    raise prepared["error"]
                content = sha256(photo) if self.hash_content else None
            preview = prepared["preview"]
            shot = {name: preview.info.get(name) for name in ("taken", "camera", "body", "rating", *SETTINGS)}
            with contextlib.suppress(XmpError):
                shot |= marks_in(preview.info.pop("xmp", b""))
            prepared["pixel_values"] = prepared["pixel_values"].numpy()  # a tensor would go through shared memory
            more = {"thumbnail": thumbnail(preview), "perceptual_hash": str(imagehash.phash(preview))}
            return prepared | shot | more | {"content": content}
        except Exception as error:  # the other photos are prepared all the same
            return failed(error, name, path)


def failed(error: Exception, *names: str) -> dict:
    """The answer of `Preparer` for a photo that cannot be opened: the reason, without the photo's name."""
    sentence = reason(error)
    for name in names:
        sentence = sentence.removeprefix(f"{name}: ")
    return {"error": sentence.encode("utf-8", "backslashreplace").decode()}


@contextlib.contextmanager
def judges(number: int) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
    """A function like `map` whose calls run in threads, some ahead of the results. The threads divide the cores that
    PyTorch uses among them: they need not wait for each other, as the threads of one call do."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(max(1, threads // number),))

    def in_turn(function: Callable, items: Iterable) -> Iterator:
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > number:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield in_turn
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, nobody waits for the photos in hand
        torch.set_num_threads(threads)


def thumbnail(preview: Image.Image) -> bytes:
    small = preview.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    small.save(file, "jpeg", quality=80)
    return file.getvalue()


class Workers:
    """Prepares photos (see `Preparer`) in a number of processes, a few ahead. A photo that ends its process is an
    error, and no other photo suffers. The number is 0 for none but this one, None for one for every two cores, but two
    at least."""

    def __init__(self, model: Path, number: int | None = None, hash_content: bool = False):
        self.number = max(2, cores() // 2) if number is None else number
        self.arguments = (model, hash_content)
        self.preparers: Processes | None = None
        self.rows: Processes | None = None
        self.here = Preparer(*self.arguments)

    def start(self) -> None:
        """Begin to start the processes, which takes some seconds."""
        if self.number and self.preparers is None:
            self.preparers = Processes(self.number, Preparer, self.arguments)

    def stop(self):
        self.here.reader.close()
        for processes in filter(None, (self.rows, self.preparers)):
            processes.stop()
        self.preparers = self.rows = None

    def prepared(self, photos: Iterable[Found], contents: Iterable = ()) -> Iterator[tuple[Found, dict]]:
        """The photos in their order, with the answers of `Preparer`. `contents` are their files, where they have been
        read; None for a photo whose file has not."""
        given = zip(photos, itertools.chain(contents, itertools.repeat(None)), strict=False)
        if not self.number:
            yield from ((photo, self.here(photo.file, content)) for photo, content in given)
            return
        waiting: deque[tuple[Found, Future]] = deque()
        for photo, content in given:
            waiting.append((photo, self.submit(photo, content)))
            if len(waiting) > AHEAD * self.number:
                yield self.result(*waiting.popleft())
        while waiting:
            yield self.result(*waiting.popleft())

    def submit(self, photo: Found, content) -> Future:
        """One more process reads the rows of Parquet files, because they can only be read one after the other."""
        self.start()
        assert self.preparers
        file, row = split_member(photo.path)
        if content is not None or not (row and file.lower().endswith(PARQUET)):
            return self.preparers.submit(photo.file, content)
        if self.rows is None:
            self.rows = Processes(1, row_reader, ())
        return self.preparers.submit(photo.path, self.rows.submit(file, row))

    def result(self, photo: Found, future: Future) -> tuple[Found, dict]:
        try:
            return photo, future.result()
        except Exception as error:
            return photo, failed(error, photo.file)


def row_reader() -> Callable[[str, str], bytes]:
    """The function that reads rows of Parquet files."""
    return Reader().read
