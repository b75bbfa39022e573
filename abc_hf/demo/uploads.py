"""The files that visitors of the demo send, within limits, and the files that are written for them."""

import base64
import binascii
import collections
import contextlib
import dataclasses
import html
import logging
import mimetypes
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_space, get_upload_folder
from PIL import Image

from ..common import scratch
from ..common.files import unique_stems
from ..common.text import first_line
from ..common.zips import open_zip, parts, photo_entries, unpacking_error
from ..formats import PHOTO_EXTENSIONS
from ..photos import PhotoError

logger = logging.getLogger(__name__)

MAX_PHOTOS = 200
"""The most photos in one go."""
MAX_PIXELS = 100_000_000
"""Width x height of the largest photo that is opened."""
MAX_PHOTO_BYTES = 100 * 2**20
MAX_TOTAL_BYTES = 2**30
"""The most bytes that the zips of one request unpack to, all together."""
MAX_VISITOR_BYTES = 4 * 2**30
"""The most bytes that one visitor may have unpacked, or packed to be downloaded, within `HOUR`."""
MAX_DIRECTORY_BYTES = 8 * 2**20
"""The largest table of contents of a zip, which is held in memory: about 100,000 names."""
HOUR = 3600
"""How long files are kept here [s]."""
MAX_BODY = 64 * 2**20
"""The most bytes of a request that is no upload, such as JSON with photos as text."""
MAX_UPLOAD = "500mb"
"""The largest file that is taken, a zip: the `max_file_size` of `gr.Blocks.launch`."""


class UploadError(ValueError):
    """Something sent that is not taken; the message is a sentence for the visitor."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """A photo that a visitor sent.

    Args:
        name: the visitor's name for it, one line; in a zip with its folders.
        path: the file here, or the zip that holds it; empty if it is not taken.
        entry: its number in the zip; None for a file of its own.
        error: why it is not taken.
    """

    name: str
    path: str = ""
    entry: int | None = None
    error: str = ""


def own_folder() -> str:
    """Have Gradio write to a folder of this process alone; those that crashed processes left are deleted."""
    folder = scratch.own_folder(Path(get_upload_folder()), "abc-fusenet-")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    if "gradio.mcp" in sys.modules:  # which has read it already
        vars(sys.modules["gradio.mcp"])["DEFAULT_TEMP_DIR"] = str(folder)
    return str(folder)


def sent_file(file: Any, folder: str) -> Sent:
    """A file that a visitor sent. Gradio's own components would take any file on the server.

    Args:
        file: a dict, as Gradio describes a file; a path; or a `Sent`.

    Raises:
        UploadError: for a file elsewhere, a web address, or something that is no file.
    """
    if isinstance(file, Sent):
        return file
    file = file if isinstance(file, dict) else {"path": file}
    sent, name = file.get("path"), file.get("orig_name")
    path = Path()
    try:
        path = Path(sent if isinstance(sent, str) else "").resolve()
        here = path.is_relative_to(Path(folder).resolve()) and path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file can have: with a NUL, too long, a circle of links
        here = False
    if not here:
        raise UploadError("Send the photo as a file; it may have been deleted here, an hour after it was sent.")
    return Sent(one_line(name if isinstance(name, str) and name else path.name), str(path))


@contextlib.contextmanager
def received(files: Any, folder: str) -> Iterator[Any]:
    """A list of files as `sent_file` takes them. Programs may give some as text: a `data:` URI, whose bytes are a file
    in here, or the address of a file that they have uploaded. Nothing is fetched."""
    if not isinstance(files, list):
        yield files
        return
    if len(files) > MAX_PHOTOS:  # before any is written
        raise toast(f"At most {MAX_PHOTOS} photos at a time, please; send fewer.")
    with tempfile.TemporaryDirectory(dir=folder) as home:
        yield [from_text(file, Path(home, str(number))) for number, file in enumerate(files)]


def from_text(file: object, home: Path) -> object:
    """One of the files of `received`, whose bytes are written to the new folder `home`."""
    if not isinstance(file, str) or ":" not in file:
        return file
    if not file.startswith("data:"):
        own = unquote(file.partition("/gradio_api/file=")[2])
        return own or Sent(one_line(file), error="send it as a file, not as an address.")
    header, _, data = file.removeprefix("data:").partition(",")
    kind, *options = header.split(";")
    names = [unquote(option.removeprefix("name=")) for option in options if option.startswith("name=")]
    name = one_line(names[0] if names else f"photo{mimetypes.guess_extension(kind) or ''}")
    try:
        data = base64.b64decode(data if "base64" in options else "?", validate=True)
    except (binascii.Error, ValueError):  # ValueError: letters that are not ASCII
        return Sent(name, error="its data: URI must be base64.")
    home.mkdir()
    (home / name).write_bytes(data)
    return {"path": str(home / name), "orig_name": name}


def sent_photos(files: object, folder: str, most: int = MAX_PHOTOS) -> list[Sent]:
    """The photos among files and in the zips among them; a zip that cannot be read is one with an error.

    Raises:
        UploadError: for a file elsewhere, for something that is no list of files, or for more than `most` photos.
    """
    if not isinstance(files, list | None):
        raise UploadError("Send the photos as a list of files.")
    photos: list[Sent] = []
    for file in files or []:
        sent = sent_file(file, folder)
        is_zip = sent.path and sent.name.lower().endswith(".zip")
        photos += look_into(sent, most - len(photos)) if is_zip else [sent]
        if len(photos) > most:
            raise UploadError(f"At most {most} photos at a time, please; send fewer.")
    return photos


def look_into(archive: Sent, most: int) -> list[Sent]:
    """The photos of a zip, which stay packed.

    Raises:
        UploadError: if it holds more than `most` photos.
    """
    try:
        with open(archive.path, "rb") as file, open_zip(file, MAX_DIRECTORY_BYTES) as entries:
            numbers = {id(entry): number for number, entry in enumerate(entries.infolist())}
            photos = [(name, numbers[id(entry)]) for name, entry in photo_entries(entries, PHOTO_EXTENSIONS)]
    except Exception as error:  # zipfile raises a dozen kinds
        logger.info("%s: %r", archive.name, error)
        return [Sent(archive.name, error="not a zip that can be read; pack it again.")]
    if len(photos) > most:
        raise UploadError(f"{archive.name}: it holds {len(photos)} photos, and {most} more can be taken.")
    if not photos:
        return [Sent(archive.name, error="there are no photos in it; send a zip with photos.")]
    return [Sent(path_in_one_line(name), archive.path, number) for name, number in photos]


class Budget:
    """The number of bytes that may still be unpacked for one request. All requests of a visitor within an hour count
    together.

    Args:
        visitor: the sender of the request, as `visitor_of` gives.
    """

    taken: dict[str, collections.deque] = collections.defaultdict(collections.deque)
    """The times and numbers of bytes that visitors have taken, the latest last."""
    lock = threading.Lock()

    def __init__(self, visitor: str = ""):
        self.visitor, self.left = visitor, MAX_TOTAL_BYTES

    def take(self, size: int) -> None:
        """Raises PhotoError if so many bytes are not left."""
        self.left -= size
        if self.left < 0:
            self.left = 0
            raise PhotoError(f"the photos sent unpack to more than {MAX_TOTAL_BYTES >> 20} MB; send them in parts.")
        now = time.monotonic()
        with self.lock:
            for visitor, notes in list(self.taken.items()):
                while notes and notes[0][0] < now - HOUR:
                    notes.popleft()
                if not notes:
                    del self.taken[visitor]
            own = self.taken[self.visitor]
            if sum(taken for _, taken in own) + size > MAX_VISITOR_BYTES:
                raise PhotoError("your zips of the last hour unpack to too much; send this one later.")
            if own and own[-1][0] > now - 1:  # one note a second
                own[-1] = (own[-1][0], own[-1][1] + size)
            else:
                own.append((now, size))


def visitor_of(request: gr.Request | None) -> str:
    """The address of the sender of a request. Behind the proxy of a Space, the proxy notes it."""
    noted = request.headers.get("x-forwarded-for", "").split(",")[0].strip() if request and get_space() else ""
    return noted or (request.client.host if request and request.client else "")


@contextlib.contextmanager
def unpacked(photo: Sent, folder: str, budget: Budget) -> Iterator[Sent]:
    """The photo as a file of its own; one from a zip is written to a file that is deleted afterwards.

    Raises:
        PhotoError: if it cannot be had, is too large, or the budget is spent.
    """
    if photo.error:
        raise PhotoError(photo.error)
    if photo.entry is None:
        if Path(photo.path).stat().st_size > MAX_PHOTO_BYTES:
            raise PhotoError(f"the file is larger than {MAX_PHOTO_BYTES >> 20} MB; send a smaller copy.")
        yield photo
        return
    with tempfile.TemporaryDirectory(dir=folder) as home:
        path = Path(home, f"photo{PurePosixPath(photo.name).suffix.lower()}")
        unpack(photo, path, budget)
        yield dataclasses.replace(photo, path=str(path), entry=None)


def unpack(photo: Sent, path: Path, budget: Budget) -> None:
    """Write one entry of a zip. Its bytes are counted while they are unpacked; the sizes in the zip are not trusted."""
    try:
        with (
            open(photo.path, "rb") as file,
            open_zip(file, MAX_DIRECTORY_BYTES) as archive,
            archive.open(archive.infolist()[photo.entry or 0]) as source,
            path.open("xb") as target,
        ):
            size = 0
            for part in parts(source):
                size += len(part)
                if size > MAX_PHOTO_BYTES:
                    raise PhotoError(f"it unpacks to more than {MAX_PHOTO_BYTES >> 20} MB.")
                budget.take(len(part))
                target.write(part)
    except (PhotoError, FileNotFoundError):
        raise
    except Exception as error:
        raise PhotoError(unpacking_error(error)) from error


@contextlib.contextmanager
def photo_errors(photo: Sent) -> Iterator[None]:
    """Turn any error of a photo into a PhotoError, which does not show the path of its file."""
    try:
        yield
    except gr.Error:
        raise
    except PhotoError as error:
        raise PhotoError(sentence(error, photo)) from None
    except FileNotFoundError:
        raise PhotoError("it was deleted here, an hour after it was sent; send it again.") from None
    except MemoryError:
        raise PhotoError("there is not enough memory to judge it; send a smaller copy.") from None
    except Exception as error:  # of whatever decoder
        logger.exception("A photo could not be judged.")
        said = sentence(ValueError(first_line(error)), photo)
        raise PhotoError(f"it cannot be judged ({said}).") from None


def files_only(component: gr.components.Component) -> gr.components.Component:
    """The same component, which no longer fetches a web address given as a file's path, as Gradio's components do."""
    move = component.async_move_resource_to_block_cache

    async def move_file(path):
        if str(path).lower().startswith(("http:", "https:")):
            raise toast("Send the photo as a file, not as an address.")
        return await move(path)

    component.async_move_resource_to_block_cache = move_file  # type: ignore[method-assign]
    return component


def sentence(error: Exception, sent: Sent) -> str:
    """The error of a photo for its visitor, without the path on the server."""
    message = str(error)
    return message.replace(f"{sent.path}: ", "").replace(sent.path, sent.name) if sent.path else message


def toast(message: str) -> gr.Error:
    """A message for the visitor, escaped: names of files are no markup."""
    return gr.Error(html.escape(message), print_exception=False)


def path_in_one_line(name: str) -> str:
    """The path of an entry of a zip: its last six parts, without `..`."""
    parts = [one_line(part) for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts[-6:]) or "photo"


def unique_paths(names: list[str]) -> Iterator[str]:
    """The paths. A name that is taken in its folder gets a number."""
    folders: dict[str, list[PurePosixPath]] = collections.defaultdict(list)
    for path in map(PurePosixPath, names):
        others = folders[str(path.parent).lower()]
        others.append(path)
        yield str(path.with_name(unique_stems(others)[-1] + path.suffix))


def one_line(name: str) -> str:
    """The last part of a path of any system, as it can be shown in one line and be a file's name anywhere."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1][-100:]
    return "".join(letter if letter.isprintable() else "?" for letter in name).strip(".") or "photo"


def new_file(folder: str, name: str) -> Path:
    """A path of that name in a new folder, for a file that one visitor downloads."""
    parent = Path(folder) / secrets.token_hex(16)
    parent.mkdir(parents=True)
    return parent / one_line(name)


def file_data(path: Path | str) -> dict:
    """A file as Gradio sends it, with an address, and deletes it later."""
    return gr.FileData(path=str(path), orig_name=Path(path).name).model_dump()


def picture_data(picture: Image.Image, folder: str, name: str, extension: str = "jpeg") -> dict:
    """A picture written for the page, as Gradio sends it."""
    path = new_file(folder, f"{name}.{extension}")
    picture.save(path, quality=88, compress_level=3)  # the one of JPEG, the other of PNG
    return file_data(path)
