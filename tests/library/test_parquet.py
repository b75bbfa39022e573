import io
import random

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from abc_hf.library import parquet
from abc_hf.library.parquet import ParquetPhotos
from abc_hf.photos import PhotoError
from tests.library.sort_toys import Counted

FILES = [random.Random(row).randbytes(3000 + row) for row in range(25)]


def written(columns: dict, features: dict | None = None, rows_per_group: int = 10) -> io.BytesIO:
    """A Parquet file by `datasets`."""
    file = io.BytesIO()
    data = datasets.Dataset.from_dict(columns, features=features and datasets.Features(features))
    data.to_parquet(file, batch_size=rows_per_group)
    return file


def images(files: list[bytes | None]) -> list[dict | None]:
    return [file and {"bytes": file, "path": None} for file in files]


def contents(photos: ParquetPhotos, rows) -> list[bytes]:
    return [photos.open(photos.name(row)).read() for row in rows]


def test_rows_in_any_order():
    photos = ParquetPhotos(written({"image": images(FILES)}, {"image": datasets.Image()}))
    assert (photos.rows, photos.name(7), photos.name(24)) == (25, "image/07", "image/24")
    for rows in (range(25), [24, 0, 9, 10, 10, 3, 19], range(24, -1, -1)):
        assert contents(photos, rows) == [FILES[row] for row in rows]


def test_the_file_is_read_once_and_of_rows_no_more_than_their_number_until_then(monkeypatch):
    monkeypatch.setattr("abc_hf.library.parquet.BUFFER", 4096)
    other = [random.Random(-row).randbytes(100_000) for row in range(25)]
    columns = {"image": images(FILES), "sound": other}
    file = Counted(written(columns, {"image": datasets.Image(), "sound": datasets.Value("binary")}).getvalue())
    photos = ParquetPhotos(file)
    assert photos.rows == 25 and file.count < 70_000 < sum(map(len, FILES))
    before = file.count
    contents(photos, range(25))
    assert sum(map(len, FILES)) < file.count - before < 1.5 * sum(map(len, FILES)), "none of the other column"


@pytest.mark.parametrize(
    ("features", "column"),
    [
        ({"photo": datasets.Image(), "image": datasets.Image()}, "image"),
        ({"left": datasets.Image(), "right": datasets.Image()}, "left"),
        ({"image": datasets.Video(), "photo": datasets.Image()}, "photo"),
        ({"image": datasets.Value("string"), "a.b": datasets.Image()}, "a.b"),
    ],
)
def test_the_column(features, column):
    columns = {name: ["text" if isinstance(kind, datasets.Value) else None] for name, kind in features.items()}
    columns[column] = images([b"photo"])
    photos = ParquetPhotos(written(columns, features))
    assert photos.column == column
    assert photos.open(f"{column}/0").read() == b"photo"


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary()])
def test_a_file_that_datasets_did_not_write(binary):
    kind = pa.struct([("path", pa.string()), ("bytes", binary), ("more", pa.int8())])
    file = io.BytesIO()
    rows = [{"a/b": {"path": None, "bytes": b"photo", "more": 1}}]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([("a/b", kind)])), file, store_schema=False)
    photos = ParquetPhotos(file)
    assert photos.open("a/b/0").read() == b"photo"


BYTES, PATH = pa.field("bytes", pa.binary()), pa.field("path", pa.string())


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.struct([BYTES]),
        pa.struct([pa.field("bytes", pa.string()), PATH]),
        pa.list_(pa.struct([BYTES, PATH])),
    ],
)
def test_no_column_holds_photos(kind):
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([], kind)}), file)
    with pytest.raises(PhotoError, match="none of its columns holds photos"):
        ParquetPhotos(file)


HEADS = {
    "wav": b"RIFF\x24\x08\0\0WAVEfmt ",
    "aiff": b"FORM\0\0\0\x2eAIFFCOMM",
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\2",
    "mp3": b"\xff\xfb\x90\x64",
    "tagged mp3": b"ID3\4\0",
    "m4a": b"\0\0\0\x20ftypM4A \0",
}


@pytest.mark.parametrize("kind", HEADS)
def test_sounds_are_told_by_the_first_where_nothing_else_tells(kind):
    def opened(sounds):
        columns = {"audio": images(sounds), "picture": images([None, b"photo"])}
        table = pa.Table.from_pydict(columns, schema=pa.schema([(name, pa.struct([BYTES, PATH])) for name in columns]))
        file = io.BytesIO()
        pq.write_table(table, file, row_group_size=1)
        return ParquetPhotos(file)

    assert opened([None, HEADS[kind]]).column == "picture"
    assert opened([FILES[0], HEADS[kind]]).column == "audio", "a damaged photo, for all that is known"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "ICO"])
def test_no_photo_is_a_sound(format):
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, format)
    photos = io.BytesIO()
    schema = pa.schema([("shot", pa.struct([BYTES, PATH]))])
    pq.write_table(pa.Table.from_pylist([{"shot": {"bytes": file.getvalue(), "path": None}}], schema), photos)
    assert ParquetPhotos(photos).open("shot/0").read() == file.getvalue()


def test_rows_without_a_photo():
    column = [None, {"bytes": None, "path": "/elsewhere/1.jpg"}, {"bytes": b"photo", "path": "2.jpg"}]
    photos = ParquetPhotos(written({"image": column}, {"image": datasets.Image()}))
    for row in range(2):
        with pytest.raises(PhotoError, match="the row holds no photo."):
            photos.open(f"image/{row}")
    for name in ("image/3", "photo/2", "image/x", "2"):
        with pytest.raises(PhotoError, match="there is no such row."):
            photos.open(name)
    assert photos.open("image/2").read() == b"photo"


def test_damage_spoils_its_row_group_alone():
    data = bytearray(written({"image": images(FILES)}, {"image": datasets.Image()}).getvalue())
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    assert metadata.path_in_schema == "image.bytes"
    start = metadata.data_page_offset
    data[start : start + 40] = bytes(40)
    photos = ParquetPhotos(io.BytesIO(data))
    for row in (10, 15):
        with pytest.raises(PhotoError, match="the headers of its pages are damaged"):
            photos.open(photos.name(row))
    good = [*range(10), *range(20, 25)]
    assert contents(photos, good) == [FILES[row] for row in good]


def bomb(sizes: list[int], **options) -> io.BytesIO:
    """Zeros, which pack to nothing."""
    file = io.BytesIO()
    pq.write_table(pa.table({"image": images([bytes(size) for size in sizes])}), file, compression="zstd", **options)
    return file


@pytest.mark.parametrize("noted", [True, False])
def test_a_bomb_is_refused_before_a_value_is_read(monkeypatch, noted):
    """Of 2 MB against a limit of 1 MB; `datasets` may have noted that the column holds photos, or not."""
    monkeypatch.setattr(parquet, "MAX_BYTES", 2**20)
    file = bomb([2**21, 10])
    photos = ParquetPhotos(file)
    if noted:
        monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("it was read"))
    for _ in range(2):
        with pytest.raises(PhotoError, match="its row group 0 unpacks from 0 KB to 2 MB, which no photos do"):
            photos.open("image/0")


def test_photos_of_which_one_is_too_large_on_average_are_refused(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 2000)
    with pytest.raises(PhotoError, match="its row group 0 unpacks"):
        ParquetPhotos(written({"image": images(FILES)}, {"image": datasets.Image()})).open("image/00")


def test_large_row_groups_of_photos_are_no_bomb(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 4000)
    photos = ParquetPhotos(written({"image": images(FILES)}, {"image": datasets.Image()}))
    assert contents(photos, range(25)) == FILES


def test_the_other_row_groups_of_a_bomb_are_read(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 2**20)
    photos = ParquetPhotos(bomb([10, 2**21, 20], row_group_size=1))
    assert photos.open("image/0").read() == bytes(10)
    with pytest.raises(PhotoError):
        photos.open("image/1")
    assert photos.open("image/2").read() == bytes(20)


def lying(file: io.BytesIO, truth: int, lie: int) -> io.BytesIO:
    """The file with another whole number in its footer, of the same length in Thrift's compact protocol."""

    def number(value: int) -> bytes:
        value, parts = 2 * value, []
        while value >= 128:
            parts.append(value & 127 | 128)
            value >>= 7
        return bytes([*parts, value])

    data, old, new = file.getvalue(), number(truth), number(lie)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert len(old) == len(new) and old in data[footer:]
    return io.BytesIO(data[:footer] + data[footer:].replace(old, new))


def test_a_footer_that_makes_a_bomb_small(monkeypatch):
    """The pages say themselves how much they unpack to."""
    file = bomb([2**21, 10])
    size = pq.ParquetFile(file).metadata.row_group(0).column(0).total_uncompressed_size
    file = lying(file, size, 2**20)
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).total_uncompressed_size == 2**20
    monkeypatch.setattr(parquet, "MAX_BYTES", 2**20)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(PhotoError, match="its row group 0 unpacks from 0 KB to 2 MB, which no photos do"):
        ParquetPhotos(file).open("image/0")


def test_a_footer_that_claims_more_rows():
    rows = [random.Random(row).randbytes(50) for row in range(100)]
    few = lying(written({"image": images(rows)}, {"image": datasets.Image()}, 100), 100, 8000)
    photos = ParquetPhotos(few)
    assert photos.rows == 8000
    assert photos.open("image/0099").read() == rows[99]
    with pytest.raises(PhotoError, match="its row group 0 holds fewer rows than it claims."):
        photos.open("image/0100")
    rows = [random.Random(row).randbytes(5) for row in range(2**13)]
    with pytest.raises(PhotoError, match="it claims 1048575 rows in .* KB, which no photos do."):
        ParquetPhotos(lying(written({"image": images(rows)}, {"image": datasets.Image()}, 2**13), 2**13, 2**20 - 1))


def test_a_footer_that_leads_out_of_the_file():
    file = io.BytesIO()
    pq.write_table(pa.table({"image": images(FILES)}), file, use_dictionary=False, row_group_size=10)
    part = pq.ParquetFile(file).metadata.row_group(1).column(0)
    for truth, lie in ((part.total_compressed_size, 2**20 - 1), (part.data_page_offset, 2**20 - 1)):
        with pytest.raises(PhotoError, match="its row group 1 is damaged: sizes and places do not fit the file."):
            ParquetPhotos(lying(file, truth, lie)).open("image/10")
        assert contents(ParquetPhotos(lying(file, truth, lie)), range(10)) == FILES[:10]


@pytest.mark.parametrize(
    "options", [{}, {"data_page_version": "2.0"}, {"use_dictionary": False}, {"data_page_size": 9}]
)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_the_pages_headers_say_what_the_footer_says(options, compression):
    table = pa.table({"image": images(FILES * 4)})
    file = io.BytesIO()
    pq.write_table(table, file, compression=compression, row_group_size=30, **options)
    for group in range(3):
        part = pq.ParquetFile(file).metadata.row_group(group).column(0)
        start = part.dictionary_page_offset or part.data_page_offset
        size = parquet.unpacked_size(file, start, start + part.total_compressed_size)
        assert sum(map(len, FILES)) <= size <= part.total_uncompressed_size
    assert contents(ParquetPhotos(file), range(100)) == FILES * 4


@pytest.mark.parametrize("data", [b"", b"\x15", 5000 * b"\x1c", b"\x18\xff\xff\xff\x7f", 20 * b"\xff", b"\x15\x01\0"])
def test_headers_of_pages_that_are_damaged(data):
    with pytest.raises(PhotoError, match="the headers of its pages are damaged"):
        parquet.unpacked_size(io.BytesIO(data), 0, 100)
