"""Splits of any data set, brought into the SmartBlur schema."""

import os

import datasets
import numpy as np
import pytest
from PIL import Image

from abc_hf.data import splits
from abc_hf.data.schema import FEATURES
from abc_hf.data.splits import data_files, digest_of, digest_of_rows, load_splits, open_splits
from abc_hf.training.settings import TrainSettings


@pytest.fixture
def write(tmp_path):
    """A maker of data sets: `write(split=[row, ...])` gives settings that name it."""

    def make(features=None, **splits):
        folder = tmp_path / "set"
        (folder / "data").mkdir(parents=True)
        for split, rows in splits.items():
            table = datasets.Dataset.from_list(rows, features=features)
            table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        return TrainSettings(dataset_name=[str(folder)], cache_dir=str(tmp_path / "cache"))

    return make


def row(seed=0, **more):
    rng = np.random.default_rng(seed)
    return {"image": Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)), **more}


IMAGE = datasets.Image()


def test_columns_that_are_not_there_are_empty_labels(write):
    features = datasets.Features({"image": IMAGE, "desirability": datasets.Value("string")})
    rows = [row(0, desirability="ok-blur"), row(1, desirability=None)]
    train, validation = load_splits(write(features, train=rows, validation=rows))
    assert train.features == FEATURES == validation.features
    assert train["desirability"][:] == [2, None]
    assert train[0]["blur_map"] is None and train[0]["source"] == "row/0"


def test_a_share_of_train_validates_where_no_split_does(write):
    settings = write(train=[row(seed) for seed in range(20)])
    train, validation = load_splits(settings)
    assert (len(train), len(validation)) == (18, 2)
    assert not set(train["source"]) & set(validation["source"])
    assert load_splits(settings)[1]["source"][:] == validation["source"][:]
    settings.max_train_samples = 5
    assert len(load_splits(settings)[0]) == 5


TEXT = datasets.Value("string")


@pytest.mark.parametrize(
    ("features", "values", "said"),
    [
        ({"photo": TEXT}, [{"photo": "a"}], "split train: there is no column image among photo."),
        ({"image": IMAGE, "blur_map": TEXT}, [{"blur_map": "a"}], "column blur_map: images were expected"),
        (
            {"image": IMAGE, "desirability": TEXT},
            [{"desirability": "no-blur"}, {"desirability": "fine"}],
            "row 1, column desirability: 'fine'; it must be a ClassLabel or the names of no-blur, good-blur",
        ),
        (
            {"image": IMAGE, "desirability": datasets.ClassLabel(names=["good", "bad"])},
            [{"desirability": 1}],
            "column desirability: it must be a ClassLabel or the names of",
        ),
    ],
)
def test_what_does_not_fit_is_named(write, features, values, said):
    rows = [(row() if "image" in features else {}) | value for value in values]
    settings = write(datasets.Features(features), train=rows)
    with pytest.raises(ValueError, match=said):
        load_splits(settings)


def test_a_data_set_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="No data set can be loaded from .*; give a folder or a Hub name."):
        load_splits(TrainSettings(dataset_name=[str(tmp_path / "nowhere")]))
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    datasets.Dataset.from_list([row()]).to_parquet(folder / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="There is no split named train"):
        load_splits(TrainSettings(dataset_name=[str(folder.parent)], cache_dir=str(tmp_path / "cache")))


def test_a_stream_has_the_same_rows(write):
    settings = write(train=[row(seed, source=f"a/{seed}") for seed in range(3)], validation=[row(9, source="a/9")])
    whole, _ = load_splits(settings)
    settings.streaming = True
    train, validation = load_splits(settings)
    assert isinstance(train, datasets.IterableDataset) and train.features == FEATURES
    assert [np.asarray(r["image"]).tobytes() for r in train] == [np.asarray(r["image"]).tobytes() for r in whole]
    assert validation[0]["source"] == "a/9"


def test_the_digest_tells_data_apart(write):
    train, _ = load_splits(write(train=[row(seed) for seed in range(4)], validation=[row(9)]))
    same, other = digest_of_rows(train), digest_of_rows(train.select([0, 1, 3]))
    assert digest_of_rows(train) == same and same["digest"] != other["digest"] and other["rows"] == 3


def labelled(folder, *classes):
    """A data set of a photo for each class, in a folder that may be there already."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [row(0, desirability=each, blur_map=None, source=f"a/{number}") for number, each in enumerate(classes)]
    features = datasets.Features(
        {name: FEATURES[name] for name in ("image", "blur_map", "desirability", "source")}
        | {"desirability": datasets.Value("int64")}
    )
    path = folder / "data" / "train-00000-of-00001.parquet"
    datasets.Dataset.from_list(rows, features=features).to_parquet(path, write_page_checksum=True)
    return path


@pytest.mark.parametrize("second", ["set", "elsewhere/set"], ids=["rebuilt in place", "another of the same name"])
def test_what_is_read_is_what_is_in_the_files_now(tmp_path, second):
    labelled(tmp_path / "set", 0, 0)
    cache = str(tmp_path / "cache")
    before = open_splits(str(tmp_path / "set"), cache_dir=cache)["train"]
    labelled(tmp_path / second, 3, 3)
    after = open_splits(str(tmp_path / second), cache_dir=cache)["train"]
    assert (before["desirability"][:], after["desirability"][:]) == ([0, 0], [3, 3])


def test_of_old_caches_those_used_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "KEPT", 2)
    caches = [splits.own_cache(tmp_path, digest) for digest in "abc"]
    for number, cache in enumerate(caches):
        (cache / "data").touch()
        os.utime(cache, (number, number))
    splits.own_cache(tmp_path, "a")
    assert all(cache.is_dir() for cache in caches)
    splits.own_cache(tmp_path, "d")
    assert sorted(cache.name for cache in (tmp_path / "by-content").iterdir()) == ["a", "c", "d"]
    assert (caches[0] / "data").exists()


def test_the_digest_is_of_the_bytes(tmp_path):
    digests = set()
    for seed in (0, 1):  # noise of the same size, whose files are the same but for their pixels
        rows = [dict.fromkeys(FEATURES) | row(seed, source="a/0")]
        digests.add(digest_of_rows(datasets.Dataset.from_list(rows, features=FEATURES))["digest"])
    assert len(digests) == 2


def test_a_damaged_file_is_named_with_its_row(tmp_path):
    path = labelled(tmp_path / "set", 0, 1, 2)
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet is damaged at row 0 or after it .*build or"):
        open_splits(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    place = data.index(b"IDAT") + 40  # inside a photo
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet is damaged at row 0 or after it"):
        open_splits(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))


def test_a_class_out_of_range_is_named_with_its_row(tmp_path):
    labelled(tmp_path / "set", 0, 1, 7)
    with pytest.raises(ValueError, match=r"parquet, row 2, column desirability: 7 is none of the classes 0 to 3"):
        open_splits(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))


def test_a_split_that_has_another_name_now_is_read_anew(tmp_path):
    path = labelled(tmp_path / "set", 0, 0)
    cache = str(tmp_path / "cache")
    assert list(open_splits(str(tmp_path / "set"), cache_dir=cache)) == ["train"]
    path.parent.rename(tmp_path / "set" / "test")
    path = tmp_path / "set" / "test" / path.name
    path.rename(path.with_name("part-00000-of-00001.parquet"))
    assert list(open_splits(str(tmp_path / "set"), cache_dir=cache)) == ["test"]
    (tmp_path / "set" / "test").rename(tmp_path / "set" / "validation")
    assert list(open_splits(str(tmp_path / "set"), cache_dir=cache)) == ["validation"]


def test_files_behind_a_link_are_read_as_they_are_now(tmp_path):
    labelled(tmp_path / "elsewhere", 0, 0)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data").symlink_to(tmp_path / "elsewhere" / "data")
    digests = set()
    for classes in ((0, 0), (3, 3)):
        labelled(tmp_path / "elsewhere", *classes)
        digests.add(digest_of(data_files(tmp_path / "set"), tmp_path / "set"))
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("column", "value"), [("votes", [0.0, 0.0, 0.5, 0.5]), ("sure", True), ("subject_blur", 2.0), ("license", "x")]
)
def test_the_digest_is_of_all_labels(column, value):
    photo = dict.fromkeys(FEATURES) | row(source="a/0")
    one, other = (datasets.Dataset.from_list([photo | more], features=FEATURES) for more in ({}, {column: value}))
    assert digest_of_rows(one)["digest"] != digest_of_rows(other)["digest"]
