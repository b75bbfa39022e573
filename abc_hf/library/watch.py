"""`abc-fusenet watch`: judge photos as they arrive in folders.

It polls, because network drives do not report changes.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator

from .find import Found
from .sort import Sort

logger = logging.getLogger(__name__)

INTERVAL = 2.0
"""The least time between two looks [s]; looking takes at most a tenth of the time."""
QUIET = 60.0
"""A file that was changed longer ago is taken at once; another, when it is the same at two looks [s]."""


def watch_library(
    sources: Iterable[str],
    out: str | os.PathLike,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    **options,
) -> None:
    """Judge the photos that are named, and those that come, until Ctrl-C; the table and the journal are those of
    `sort_library`, and so are the options. `sleep` waits so many seconds, and `clock` tells the time [s]."""
    with Sort(out, **options) as job:
        try:
            keep_watching(job, list(sources), sleep, clock)
        except KeyboardInterrupt:
            job.stop()


def keep_watching(job: Sort, sources: list[str], sleep: Callable[[float], None], clock: Callable[[], float]):
    """Look, judge, and write the table, which takes at most a tenth of the time, too."""
    job.load()
    job.find(sources)
    logger.info("Watching; Ctrl-C ends it.")
    arrivals, rows, write_at = Arrivals(), None, 0.0
    while True:
        start = clock()
        job.look(sources)
        looked = clock() - start
        judged = job.judge(arrivals.settled(photo for photo, _ in job.index.todo(retry=False)))
        if judged or rows != job.index.labels():
            rows = None
        if rows is None and clock() >= write_at:
            start = clock()
            job.finish()
            write_at, rows = clock() + 10 * (clock() - start), job.index.labels()
        sleep(max(INTERVAL, 10 * looked))


class Arrivals:
    """Tells photos that are whole from those that are still being written."""

    def __init__(self):
        self.sizes = {}

    def settled(self, photos: Iterable[Found]) -> Iterator[Found]:
        """Those that have not changed since the look before, or for `QUIET`."""
        before, self.sizes = self.sizes, {}
        for photo in photos:
            size = self.sizes[photo.path] = photo.bytes, photo.modified
            if before.get(photo.path) == size or time.time() - (photo.modified or 0) > QUIET:
                yield photo
