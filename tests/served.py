"""The static page behind a file server on this machine, and what it says."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The server's address, up to the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def answers_of(page, count: int) -> list[dict]:
    """What the page says of its photos, once all are judged; maps as lists."""
    page.wait_for_function(f"window.photos.length == {count} && window.photos.every(each => each.answer || each.error)")
    return page.evaluate("""window.photos.map(({answer, error}) => ({error, ...answer,
        blur: answer && Array.from(answer.blur), attention: answer && Array.from(answer.attention)}))""")
