"""Data sets in the SmartBlur schema, from photos and masks made here."""

import datasets
import numpy as np
import pytest
from toy_photos import write_toy_photos

from abc_hf.build_dataset import FEATURES, main, weak_blur_map


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_toy_photos(tmp_path_factory.mktemp("photos"))


def build(command: str, photos, out, *options: str):
    main([command, str(photos), "--out", str(out), "--workers", "1", *options])
    return datasets.load_dataset(str(out), cache_dir=str(out / "cache"))


def test_folders_keep_labels_masks_and_splits(photos, tmp_path):
    splits = build("folders", photos, tmp_path)
    assert {name: len(split) for name, split in splits.items()} == {"train": 3, "validation": 2, "test": 1}
    train = {row["source"]: row for row in splits["train"]}
    assert splits["train"].features == FEATURES
    sharp, weak = train["ecssd/a"], train["ecssd/b"]
    assert sharp["desirability"] == 0 and not np.asarray(sharp["blur_map"]).any()
    levels = np.asarray(weak["blur_map"])
    assert levels[32, 48] == 0 and levels[0, 0] == 254 and levels[32, 32] == 255
    assert np.asarray(weak["salient_mask"])[32, 48] == 255
    assert train["kodak/c"]["salient_mask"] is None
    assert train["kodak/c"]["license"] == "unrestricted"
    test = splits["test"][0]
    assert test["salient_mask"] is None, "CUHK's masks are of blur"
    assert set(np.unique(test["blur_map"])) == {0, 254}


def test_a_weak_map_is_unknown_along_the_outline():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    levels = weak_blur_map(mask)
    assert levels[20, 30] == 0 and levels[2, 2] == 254
    assert (levels[9:13, 30] == 255).all()
    assert not (levels[mask] == 254).any() and not (levels[~mask] == 0).any()


def test_synth_is_determined_by_its_seed(photos, tmp_path):
    first = build("synth", photos, tmp_path / "1", "--count", "12", "--seed", "5")
    again = build("synth", photos, tmp_path / "2", "--count", "12", "--seed", "5")
    other = build("synth", photos, tmp_path / "3", "--count", "12", "--seed", "6")
    images = [[np.asarray(row["image"]).tobytes() for row in built["train"]] for built in (first, again, other)]
    assert images[0] == images[1] != images[2]
    assert len(first["train"]) == 12 and len(first["validation"]) == 1
    sources = {row["source"].split("/")[2] for row in first["train"]}
    assert sources <= {"a", "c"}, "only photos labelled no-blur, of their own split, may be sources"


def test_a_killed_build_goes_on_with_the_missing_shards(photos, tmp_path, capsys):
    build("folders", photos, tmp_path)
    shard = next((tmp_path / "data").glob("train-*"))
    before = shard.stat().st_mtime_ns
    (tmp_path / "data" / "test-00000-of-00001.parquet").unlink()
    build("folders", photos, tmp_path)
    assert shard.stat().st_mtime_ns == before
    assert (tmp_path / "data" / "test-00000-of-00001.parquet").exists()


def test_a_broken_photo_is_reported_and_left_out(tmp_path, capsys):
    photos = write_toy_photos(tmp_path / "photos")
    broken = photos / "ecssd/images/a.png"
    broken.write_bytes(broken.read_bytes()[:200])
    splits = build("folders", photos, tmp_path / "out")
    assert len(splits["train"]) == 2
    message = capsys.readouterr().err
    assert "a.png" in message and "train: 1 of 3 left out" in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("desirability,", "desire,", "lacks the column desirability"), ("bad-blur", "worse-blur", "row 8, column desir")],
)
def test_wrong_labels_are_one_sentence(tmp_path, capsys, old, new, said):
    photos = write_toy_photos(tmp_path / "photos")
    labels = photos / "desirability.csv"
    labels.write_text(labels.read_text().replace(old, new))
    with pytest.raises(SystemExit):
        build("folders", photos, tmp_path / "out")
    assert said in capsys.readouterr().err


def test_a_folder_without_labels_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        build("folders", tmp_path, tmp_path / "out")
    assert "holds no desirability.csv" in capsys.readouterr().err
