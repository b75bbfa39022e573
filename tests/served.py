"""The static page behind a file server on this machine, and what it says."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ISOLATED = {
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""The headers of a static Space."""


@contextlib.contextmanager
def served(folder: Path, headers: dict[str, str] | None = None, sent: list[str] | None = None) -> Iterator[str]:
    """The server's address, up to the end of the block. The paths of the files that it sends are added to `sent`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send_response(self, code, message=None):
            if code == 200 and sent is not None:
                sent.append(self.path)
            super().send_response(code, message)

        def end_headers(self):
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

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
