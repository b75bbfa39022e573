# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What visitors of the demo send: only their own files, within limits; and what is written for them."""

import html
import secrets
import zipfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from PIL import Image

from ..photos import PHOTO_EXTENSIONS, PhotoError

MAX_PHOTOS = 200
"""The most photos in one go."""
MAX_PIXELS = 100_000_000
"""Width x height of the largest photo that is opened."""
MAX_PHOTO_BYTES = 100 * 2**20
MAX_TOTAL_BYTES = 2**30
"""The most that the photos of one zip may unpack to."""
MAX_UPLOAD = "500mb"
"""The largest file that is taken, a zip: what `gr.Blocks.launch` calls max_file_size."""


class UploadError(ValueError):
    """Something sent that is not taken; the message is a sentence for the visitor."""


@dataclass(frozen=True)
class Sent:
    """A file that a visitor sent.

    Args:
        name: what it is called there, one line.
        path: where it lies here; empty if it is not taken.
        error: why it is not taken.
    """

    name: str
    path: str = ""
    error: str = ""


def sent_file(file: dict | str, folder: str) -> Sent:
    """A file in the folder of what visitors sent; Gradio's own components take that of any file on the server.

    Raises:
        UploadError: for a file elsewhere, or a web address.
    """
    file = {"path": file} if isinstance(file, str) else file
    try:
        path = Path(file.get("path") or "").resolve()
    except ValueError:  # a NUL in it
        path = Path("/")
    if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
        raise UploadError("Send the photo as a file; it may have been deleted here, an hour after it was sent.")
    return Sent(one_line(file.get("orig_name") or path.name), str(path))


def sent_photos(files: list[dict | str] | None, folder: str, written: set[str], most: int = MAX_PHOTOS) -> list[Sent]:
    """The photos among files, zips opened; each either has a path or an error. What is written is added to `written`.

    Raises:
        UploadError: for a file elsewhere, or more than `most` photos.
    """
    photos = []
    for file in files or []:
        sent = sent_file(file, folder)
        room = most - len(photos)
        photos += unpack(sent, folder, written, room) if sent.name.lower().endswith(".zip") else [sent]
        if len(photos) > most:
            raise UploadError(f"At most {most} photos at a time, please; send fewer.")
    return photos


def unpack(archive: Sent, folder: str, written: set[str], most: int) -> list[Sent]:
    """Write the photos of a zip under names of our own; what its directory claims is not trusted.

    Raises:
        UploadError: if it holds more than `most` photos, or they unpack to more than `MAX_TOTAL_BYTES`.
    """
    photos, total = [], 0
    target = Path(folder) / secrets.token_hex(16)
    try:
        with zipfile.ZipFile(archive.path) as entries:
            names = [entry for entry in entries.infolist() if not entry.is_dir() and is_wanted(entry.filename)]
            if len(names) > most:
                raise UploadError(f"{archive.name}: it holds {len(names)} photos, and {most} more can be taken.")
            target.mkdir()
            for number, entry in enumerate(names):
                name = one_line(entry.filename)
                path = target / f"{number:03}{Path(name).suffix.lower()}"
                written.add(str(path))
                try:
                    total += extract(entries, entry, path, MAX_TOTAL_BYTES - total)
                    photos.append(Sent(name, str(path)))
                except PhotoError as error:
                    photos.append(Sent(name, error=str(error)))
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return [*photos, Sent(archive.name, error="not a zip that can be read.")]
    return photos or [Sent(archive.name, error="there are no photos in it.")]


def is_wanted(name: str) -> bool:
    """A photo by its extension, and not a thing that macOS puts beside it."""
    return name.lower().endswith(PHOTO_EXTENSIONS) and not Path(name).name.startswith("._")


def extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, room: int) -> int:
    """Write one entry; returns its size in bytes. It is counted while it unpacks.

    Raises:
        PhotoError: if it cannot be read, or unpacks to more than `MAX_PHOTO_BYTES`.
        UploadError: if it unpacks to more than `room` bytes.
    """
    size = 0
    try:
        with archive.open(entry) as source, path.open("xb") as file:
            while part := source.read(2**20):
                size += len(part)
                if size > MAX_PHOTO_BYTES:
                    raise PhotoError(f"it unpacks to more than {MAX_PHOTO_BYTES >> 20} MB.")
                if size > room:
                    raise UploadError(
                        f"The zip unpacks to more than {MAX_TOTAL_BYTES >> 20} MB; send its photos in parts."
                    )
                file.write(part)
    except (PhotoError, UploadError):
        path.unlink()
        raise
    except RuntimeError:
        raise PhotoError("it is locked by a password.") from None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError):
        path.unlink(missing_ok=True)
        raise PhotoError("it cannot be unpacked; the zip is damaged or of a rare kind.") from None
    return size


def files_only(component: gr.components.Component) -> gr.components.Component:
    """The same component, which no longer fetches a web address given as a file's path, as Gradio's components do."""
    move = component.async_move_resource_to_block_cache

    async def move_file(path):
        if str(path).lower().startswith(("http:", "https:")):
            raise toast("Send the photo as a file, not as an address.")
        return await move(path)

    component.async_move_resource_to_block_cache = move_file
    return component


def sentence(error: Exception, sent: Sent) -> str:
    """What to tell a visitor of a photo that failed: without the path it has here."""
    message = str(error)
    return message.replace(f"{sent.path}: ", "").replace(sent.path, sent.name) if sent.path else message


def toast(message: str) -> gr.Error:
    """A message for the visitor's eyes; what is in a file's name is not markup."""
    return gr.Error(html.escape(message), print_exception=False)


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


def picture_data(picture: Image.Image, folder: str, name: str, format: str = "jpeg") -> dict:
    """A picture written for the page, as Gradio sends it."""
    path = new_file(folder, f"{name}.{format}")
    picture.save(path, **({"quality": 88} if format == "jpeg" else {"compress_level": 3}))
    return file_data(path)
