import pytest

from abc_hf.common.names import in_words, is_left_out, is_photo, kind_of


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir/a.jpg",
        "x/#recycle/a.jpg",
        "__MACOSX/._a.jpg",
        ".trash/a.jpg",
        "Thumbs/a.jpg",
        ".thumbnails/a.jpg",
        ".a.jpg",
    ],
)
def test_what_is_left_out(name):
    assert is_left_out(name) and not is_photo(name, (".jpg",))


@pytest.mark.parametrize("name", ["a.jpg", "./a.JPG", "../b/a.jpg", "thumbs up/a.jpg", "trash/a.jpg"])
def test_what_is_a_photo(name):
    assert is_photo(name, (".jpg",))


def test_kinds_in_words():
    names = ["a.X3F", "b/c.x3f", "d.crw", "README", "e.tar.gz", ".hidden"]
    assert [kind_of(name) for name in names] == [
        ".x3f",
        ".x3f",
        ".crw",
        "without extension",
        ".gz",
        "without extension",
    ]
    assert in_words({".x3f": 3, ".crw": 2, ".b": 2}) == "3 .x3f, 2 .b, 2 .crw"
    assert in_words({f".{letter}": 1 for letter in "abcdefghij"}).endswith("1 .h, 2 others")
