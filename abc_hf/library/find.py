"""Finding photos in folders, files, globs, zip, tar and Parquet files, Lance data sets, and whatever fsspec opens."""

import datetime
import glob
import itertools
import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import fsspec

from ..common.names import is_left_out, is_photo, kind_of
from ..common.zips import photo_entries
from ..formats import FORMATS, HEIF_EXTENSIONS, PHOTO_EXTENSIONS, RAW_EXTENSIONS
from ..photos import PhotoError
from .companions import Folder, core
from .containers import ARCHIVES, CONTAINERS, INSIDE, LANCE, PARQUET, explained, open_archive

DEVELOPED = (*FORMATS["JPEG"], *HEIF_EXTENSIONS)
"""Extensions of the photo that a camera writes beside its RAW file."""
DATASETS = "hf://datasets/"
"""How the URLs of the Hub's data sets begin."""
EMPTY = "the folder holds no photos."


class Found(NamedTuple):
    """A photo that was found.

    Args:
        path: absolute, `archive.zip!/member.jpg`, `data.parquet!/image/0017`, or a URL; bytes that are not UTF-8 as in
            `os.fsdecode`.
        bytes: its size; None if it is not known.
        modified: when it was changed [s since 1970]; None if it is not known.
        raw_path: the camera RAW file of the same shot.
        companions: names of the files that belong to it, see `companions.py`.
        moved_to: where it is since an action moved it from `path`.
    """

    path: str
    bytes: int | None
    modified: float | None
    raw_path: str | None = None
    companions: tuple[str, ...] = ()
    moved_to: str | None = None

    @property
    def file(self) -> str:
        """Where the photo is now."""
        return self.moved_to or self.path


Complain = Callable[[str, str], None]
"""A function of a name and a sentence, the reason why nothing can be read there or there are no photos."""


def find_photos(
    sources: Iterable[str],
    complain: Complain,
    skip: Iterable[str] = (),
    left_out: Counter | None = None,
    look_into: Callable[[str, Complain], Iterator[Found]] | None = None,
) -> Iterator[Found]:
    """The photos that sources name, one after the other as they are found.

    A folder stands for the photos in it and in the folders below, told by their extensions; hidden files and folders
    are left out, links are followed, and no folder is read twice. A glob (`**` is any folders) stands for its matches,
    and a named archive for its photos. So does a URL of any file system that fsspec knows (`hf://datasets/...`,
    `s3://...`, globs too). Parquet files and Lance data sets, with a photo in each row, are read wherever they are,
    except that a Lance data set behind a URL must be named. Archives that are not named are read only in a data set on
    the Hub. A camera RAW file beside a JPEG or HEIF of the same name is no photo of its
    own, but that one's `raw_path`.

    Args:
        skip: folders that are not looked into, such as that of results.
        left_out: counts the files that are neither photos nor belong to one, by kind.
        look_into: yields the photos in an archive, a Parquet file or a Lance data set: `in_container` unless given.
    """
    seen = {identity for identity in map(folder_identity, skip) if identity}
    tops = tuple(os.path.join(os.path.realpath(folder), "") for folder in skip)
    files, left_out, look_into = [], Counter() if left_out is None else left_out, look_into or in_container
    for source in expand_globs(sources, complain):
        if "://" in source:
            yield from in_url(source, complain, look_into)
        elif os.path.isdir(source) and not source.lower().endswith(LANCE):
            yield from in_folder(source, complain, seen, left_out, look_into)
        elif os.path.realpath(source).startswith(tops):
            continue
        elif source.lower().endswith(CONTAINERS):
            yield from look_into(source, complain)
        else:
            files.append(source)
    for folder, group in itertools.groupby(sorted(files, key=os.path.split), os.path.dirname):
        yield from with_companions(one_per_shot(local_files(group, complain)), Folder.of(folder))


def expand_names(sources: Iterable[str]) -> Iterator[str]:
    """Absolute paths and URLs."""
    for source in map(os.fspath, sources):
        source = source.removeprefix("file://")
        yield source if "://" in source else os.path.abspath(source)


def expand_globs(sources: Iterable[str], complain: Complain) -> Iterator[str]:
    """Absolute paths and URLs, globs of local files expanded."""
    for source in expand_names(sources):
        if "://" not in source and not os.path.lexists(source) and glob.has_magic(source):
            matches = sorted(glob.glob(source, recursive=True))
            wanted = [
                name for name in matches if name.lower().endswith(PHOTO_EXTENSIONS + CONTAINERS) or os.path.isdir(name)
            ]
            if not wanted:
                complain(source, "no photo has such a name.")
            yield from map(os.path.abspath, wanted)
        else:
            yield source


def folder_identity(folder: str | os.PathLike) -> tuple[int, int] | None:
    """The identity of a folder, the same through all links to it; None if it cannot be known."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def in_folder(
    top: str, complain: Complain, seen: set[tuple[int, int]], left_out: Counter, look_into: Callable
) -> Iterator[Found]:
    """The photos in a folder and in those below, by name; folders in `seen` are left out, and those met added. Kinds of
    files that are neither photos nor belong to one are counted in `left_out`."""
    waiting, found, failed = [top], False, folder_identity(top) in seen
    while waiting:
        folder = waiting.pop()
        identity = folder_identity(folder)
        if identity in seen:
            continue
        try:
            with os.scandir(folder) as entries:
                entries = sorted((e for e in entries if not is_left_out(e.name)), key=lambda entry: entry.name)
        except OSError as error:
            complain(folder, f"the folder cannot be read ({error.strerror}).")
            failed = True
            continue
        if identity:
            seen.add(identity)
        folders = [entry.path for entry in entries if is_folder(entry)]
        files = {entry.name: entry.path for entry in entries if entry.path not in folders}
        names = [name for name in files if is_photo(name, PHOTO_EXTENSIONS)]
        tables = [path for path in files.values() if path.lower().endswith(PARQUET)]
        tables += [path for path in folders if path.lower().endswith(LANCE)]
        found = found or bool(names or tables)
        beside = Folder.of(folder) if names else Folder(())
        others = files.keys() - {*names, *map(os.path.basename, tables)}
        for photo in with_companions(one_per_shot(local_files(files[name] for name in names)), beside):
            others -= {*photo.companions}
            yield photo
        left_out.update(map(kind_of, others))
        for table in tables:
            yield from look_into(table, complain)
        waiting += [path for path in reversed(folders) if not path.lower().endswith(LANCE)]
    if not found and not failed:
        complain(top, EMPTY)


def is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def local_files(names: Iterable[str], complain: Complain | None = None) -> Iterator[Found]:
    """Files as they are. A file whose size cannot be read stays; opening it later reports the reason. Pipes and
    devices, which might never end, are left out."""
    for name in names:
        try:
            status = os.stat(name)
        except (OSError, ValueError):
            yield Found(name, None, None)
            continue
        if stat.S_ISREG(status.st_mode):
            yield Found(name, status.st_size, status.st_mtime)
        elif complain:
            complain(name, "this is no file, but a pipe or a device.")


def with_companions(photos: Iterable[Found], beside: Folder) -> Iterator[Found]:
    """The photos of one folder with the names of the files that belong to them."""
    for photo in photos:
        files = [os.path.basename(path) for path in (photo.path, photo.raw_path) if path]
        names = {name for file in files for name in beside.companions(file)} - {*files}
        yield photo._replace(companions=tuple(sorted(names)))


def one_per_shot(files: Iterable[Found]) -> Iterator[Found]:
    """Files of one folder, without the RAW files of shots that are there as JPEG or HEIF too, and without the originals
    that Pixel phones keep beside their photos."""
    files = [(core(file.path).lower(), file.path.lower(), file) for file in files]
    covers = {stem for stem, name, _ in files if name.removesuffix(".jpg").endswith(".cover")}
    files = [
        (stem, name, file)
        for stem, name, file in files
        if not (stem in covers and name.endswith(DEVELOPED) and os.path.splitext(name)[0].endswith(".original"))
    ]
    developed = {stem for stem, name, _ in files if name.endswith(DEVELOPED)}
    raw = {stem: file.path for stem, name, file in files if name.endswith(RAW_EXTENSIONS)}
    for stem, name, file in files:
        if name.endswith(DEVELOPED):
            yield file._replace(raw_path=raw.pop(stem, None))
        elif stem not in developed or not name.endswith(RAW_EXTENSIONS):
            yield file


def in_url(url: str, complain: Complain, look_into: Callable) -> Iterator[Found]:
    """The photos that a URL names: a file, an archive, a Parquet file, a folder with those below, or a glob. Of a chain
    of URLs, such as `zip://folder::s3://photos.zip`, it is the first that names them; archives and Parquet files in it
    are not looked into."""
    link, chain, others = url.partition("://")[2].partition("::")
    is_glob, containers = glob.has_magic(link), () if chain else CONTAINERS
    if link.lower().endswith(containers) and not is_glob:
        yield from look_into(url, complain)
        return
    wanted = PHOTO_EXTENSIONS
    if not chain:
        wanted += (*ARCHIVES, *PARQUET) if is_glob or url.startswith(DATASETS) else PARQUET
    errors: list[Exception] = []
    found = False
    try:
        system, top = fsspec.url_to_fs(url)
        if is_glob:
            folders: Iterable[list[dict]] = [wanted_infos(system.glob(top, detail=True).values(), wanted)]
        elif system.isfile(top):
            folders = [[system.info(top)]]
        else:
            walk = system.walk(top, detail=True, on_error=errors.append)
            walk = ((folder.removeprefix(top), infos) for folder, _, infos in walk)
            folders = (wanted_infos(infos.values(), wanted) for folder, infos in walk if not is_left_out(folder))
        for infos in folders:
            files = [Found(system.unstrip_protocol(i["name"]), i.get("size"), modified_time(i)) for i in infos]
            found = found or bool(files)
            for photo in one_per_shot(file for file in files if not file.path.lower().endswith(containers)):
                raw_path = photo.raw_path and photo.raw_path + chain + others
                yield photo._replace(path=photo.path + chain + others, raw_path=raw_path)
            for file in files:
                if file.path.lower().endswith(containers):
                    yield from look_into(file.path, complain)
    except Exception as failure:  # each file system has errors of its own
        errors.append(failure)
    for error in errors:
        complain(url, explained("it cannot be read", error))
    if not errors and not found:
        complain(url, "there are no photos in it.")


def wanted_infos(infos: Iterable[dict], extensions: tuple[str, ...]) -> list[dict]:
    """The entries of fsspec for the files with some extensions, by name."""
    files = (info for info in infos if info["type"] == "file")
    wanted = (info for info in files if is_photo(info["name"].rsplit("/", 1)[-1], extensions))
    return sorted(wanted, key=lambda info: info["name"])


def modified_time(info: dict) -> float | None:
    """When a file of an fsspec file system was changed; each has a name of its own for it."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def in_container(path: str, complain: Complain) -> Iterator[Found]:
    return (in_parquet if path.lower().endswith((*PARQUET, *LANCE)) else in_archive)(path, complain)


def in_parquet(path: str, complain: Complain) -> Iterator[Found]:
    """The photos in a Parquet file or a Lance data set, as old as that; how large they are is not known before they are
    read."""
    try:
        with open_archive(path) as photos:
            modified = file_time(path)
    except PhotoError as error:
        complain(path, str(error))
        return
    except Exception as error:  # as in `in_archive`
        kind = "Lance data set" if path.lower().endswith(LANCE) else "Parquet file"
        complain(path, explained(f"the {kind} cannot be read", error))
        return
    if not photos.rows:
        complain(path, "there are no photos in it.")
    for row in range(photos.rows):
        yield Found(f"{path}{INSIDE}{photos.name(row)}", None, modified)


def file_time(path: str) -> float | None:
    """When a file was changed [s since 1970]; None if its file system does not know."""
    if "://" not in path:
        return os.stat(path).st_mtime
    if path.lower().endswith(LANCE):
        return None
    system, name = fsspec.url_to_fs(path)
    try:
        return system.modified(name).timestamp()
    except NotImplementedError:
        return None


def in_archive(path: str, complain: Complain) -> Iterator[Found]:
    """The photos in a zip or tar file; they are not unpacked."""
    folders: dict[str, list[Found]] = {}
    failed = False
    try:
        with open_archive(path) as archive:
            for name, size, modified in members(archive):
                found = Found(f"{path}{INSIDE}{name}", size, modified)
                folders.setdefault(os.path.dirname(name), []).append(found)
    except Exception as error:  # of zipfile, tarfile, their decoders, and the file systems of fsspec
        complain(path, explained("the archive cannot be read to its end", error))
        failed = True
    for files in folders.values():
        yield from one_per_shot(files)
    if not folders and not failed:
        complain(path, "there are no photos in it.")


def members(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[str, int, float | None]]:
    """Name, size and time of each photo in an archive."""
    if isinstance(archive, tarfile.TarFile):
        for entry in archive:
            if entry.isfile() and is_photo(entry.name, PHOTO_EXTENSIONS):
                yield entry.name, entry.size, float(entry.mtime)
        return
    for name, entry in photo_entries(archive, PHOTO_EXTENSIONS):
        yield name, entry.file_size, zip_time(entry)


def zip_time(entry: zipfile.ZipInfo) -> float | None:
    try:
        return datetime.datetime(*entry.date_time, tzinfo=datetime.UTC).timestamp()
    except ValueError:  # no such day
        return None
