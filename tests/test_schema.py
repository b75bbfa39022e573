"""Splits of any data set, brought into the SmartBlur schema."""

import datasets
import numpy as np
import pytest
from PIL import Image

from abc_hf.schema import FEATURES, fingerprint, load_splits
from abc_hf.settings import TrainSettings


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


def test_columns_can_be_renamed(write):
    settings = write(train=[{"photo": row()["image"]}] * 2)
    settings.rename_columns = ["photo=image"]
    assert load_splits(settings)[0][0]["image"].size == (48, 32)
    settings.rename_columns = ["foto=image"]
    with pytest.raises(ValueError, match="no column foto to be renamed to image among photo"):
        load_splits(settings)


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
    with pytest.raises(ValueError, match="There is no split named train"):
        folder = tmp_path / "set" / "data"
        folder.mkdir(parents=True)
        datasets.Dataset.from_list([row()]).to_parquet(folder / "test-00000-of-00001.parquet")
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
    same, other = fingerprint(train), fingerprint(train.select([0, 1, 3]))
    assert fingerprint(train) == same and same["digest"] != other["digest"] and other["rows"] == 3
