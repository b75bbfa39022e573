"""The one rule that says by its name whether a file is a photo."""

LEFT_OUT = {
    *("@eadir", "#recycle", "#snapshot", ".@__thumb"),  # of network drives
    *("$recycle.bin", "system volume information", "__macosx"),  # of Windows and macOS
    *("thumbs", ".thumbnails", ".trash", "thumbs.db", "desktop.ini"),
}
"""Names, in lower case, of folders and files with thumbnails, deleted files, and notes of the system."""


def is_left_out(name: str) -> bool:
    """Whether a file or a folder is hidden or deleted, or lies in such a folder."""
    parts = name.replace("\\", "/").split("/")
    return any((part.startswith(".") and part not in (".", "..")) or part.lower() in LEFT_OUT for part in parts)


def is_photo(name: str, extensions: tuple[str, ...]) -> bool:
    """Whether a file has one of the extensions and is not left out."""
    return name.lower().endswith(extensions) and not is_left_out(name)


def kind_of(name: str) -> str:
    """The extension of a name in lower case, for counts of files that are left out."""
    stem, dot, extension = name.rsplit("/", 1)[-1].rpartition(".")
    return f".{extension.lower()}" if stem and dot else "without extension"


def in_words(kinds: dict[str, int], most: int = 8) -> str:
    """Counts of files by kind in one line, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{count} {kind}" for kind, count in ordered[:most]]
    if rest := sum(count for _, count in ordered[most:]):
        words.append(f"{rest} others")
    return ", ".join(words)
