"""Data sets in the SmartBlur schema, from photos and masks made here."""

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from abc_hf.data.build import main
from abc_hf.data.regions import read_regions, region_amounts, region_cells, region_map
from abc_hf.data.schema import FEATURES
from abc_hf.data.sources import weak_blur_map
from abc_hf.data.splits import open_splits
from tests.toy_photos import write_toy_photos

REGIONS = Path(__file__).parents[2] / "hub" / "labels" / "blur_regions.csv"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_toy_photos(tmp_path_factory.mktemp("photos"))


def build(command: str, photos, out, *options: str):
    main([command, str(photos), "--out", str(out), "--workers", "1", *options])
    return open_splits(str(out), cache_dir=str(out.with_name(f"{out.name}-cache")))


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


def test_labelled_cells_become_levels_that_are_unknown_where_sharp_meets_blurred():
    levels = region_map(region_cells(["0022", "00?3"]), None, 40, 80)
    assert levels.dtype == np.uint8 and levels.shape == (40, 80)
    assert (levels[:, :36] == 0).all() and (levels[:20, 44:] == 2).all() and (levels[20:, 64:] == 3).all()
    assert (levels[:20, 38:42] == 255).all(), "a band along the border of sharp and blurred"
    assert (levels[26:, 44:60] == 255).all(), "nobody knows"


def test_labelled_cells_meet_the_weak_map():
    weak = np.full((40, 80), 254, np.uint8)
    weak[:, :44] = 0  # the salient object is sharp, and reaches a little into the third cell
    weak[30:, 60:] = 0  # and the whole of a corner, which the annotator saw blurred
    levels = region_map(region_cells(["0022", "??22"]), weak, 40, 80)
    assert (levels[:20, 44:60] == 2).all() and (levels[:20, :36] == 0).all()
    assert (levels[:18, 40:44] == 255).all(), "the object in a cell that is mostly blurred"
    assert (levels[26:, :40] == 0).all(), "? leaves the weak map"
    weak[:] = 0
    assert (region_map(region_cells(["0022", "??22"]), weak, 40, 80)[:, 50:] == 2).all(), "the eye overrules the mask"


@pytest.mark.parametrize("cells", ["", "01 012", "0x 01", "04 00"])
def test_wrong_cells_are_one_sentence(tmp_path, cells):
    path = tmp_path / "regions.csv"
    path.write_text(f"file,cells\na.jpg,00 00\nb.jpg,{cells}\n")
    with pytest.raises(ValueError, match=r"regions\.csv, row 3, column cells: rows of the same length"):
        read_regions(path)
    path.write_text("name,cells\na.jpg,00\n")
    with pytest.raises(ValueError, match="row 2: the columns must be file and cells"):
        read_regions(path)


def test_two_annotators_make_amounts():
    first = region_cells(["0012", "33?1", "0?21"])
    second = region_cells(["0113", "32?1", "21?2"])
    assert region_amounts(first, second).tolist() == [[0, 30, 60, 150], [253, 150, 255, 60], [255, 60, 120, 90]]


def test_a_second_annotator_makes_amounts_beside_the_levels_of_the_first(photos, tmp_path):
    paths = []
    for name, cells in (("first", "33 33"), ("second", "22 33")):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text(f"file,cells\necssd/images/a.png,{cells}\n")
    train = {row["source"]: row for row in build("folders", photos, tmp_path, "--regions", *map(str, paths))["train"]}
    first, amounts = (np.asarray(train["ecssd/a"][column]) for column in ("blur_map", "blur_amount"))
    assert (first == 3).all() and amounts[0, 0] == 150 and amounts[-1, -1] == 253
    assert train["ecssd/b"]["blur_amount"] is None
    paths[1].write_text("file,cells\necssd/images/a.png,333 333\n")
    with pytest.raises(SystemExit):
        main(["folders", str(photos), "--out", str(tmp_path / "uneven"), "--regions", *map(str, paths)])


def test_the_regions_that_come_with_the_project():
    regions = read_regions(REGIONS)
    assert len(regions) > 800 and not [file for file in regions if file.startswith("cuhk/")], "CUHK is test-only"
    assert {(len(grid), len(grid[0])) for grid in regions.values()} == {(6, 8), (8, 6)}


def test_regions_join_the_folders(photos, tmp_path):
    regions = tmp_path / "regions.csv"
    regions.write_text("file,cells\necssd/images/b.png,00 00\n")
    train = {row["source"]: row for row in build("folders", photos, tmp_path, "--regions", str(regions))["train"]}
    assert np.asarray(train["ecssd/b"]["blur_map"])[0, 0] == 255, "the eye and the mask disagree"


@pytest.mark.slow
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


def test_a_readme_of_the_users_is_not_replaced(photos, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(SystemExit):
        build("folders", photos, tmp_path)
    assert "README.md is no result of this command; choose another folder" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.glob("[!p]*")] == [("README.md", "mine")]


def test_a_card_and_a_contact_sheet_lie_beside_the_parquet(photos, tmp_path, capsys):
    build("folders", photos, tmp_path / "real")
    card = DatasetCard.load(tmp_path / "real" / "README.md")
    assert card.data.size_categories == ["n<1K"]
    files = card.data.configs[0]["data_files"]
    assert files[0] == {"split": "train", "path": "data/train-*.parquet"}
    assert [entry["split"] for entry in files] == ["train", "validation", "test"]
    assert "| train | 3 | 2 | 1 | 0 | 0 | 0 | 3 | 0 | 2 |" in card.text
    assert "| kodak | unrestricted | 1 |" in card.text
    assert "| train | 3 |" in capsys.readouterr().out
    build("synth", photos, tmp_path / "synth", "--count", "12")
    sheet = Image.open(tmp_path / "synth" / "contact_sheet.png")
    assert min(sheet.size) > 300 and np.asarray(sheet.convert("L")).std() > 20


@pytest.fixture
def release(tmp_path):
    """SmartBlur as it is to be given: four photos, a map each but the last."""
    folder = tmp_path / "smartblur"
    for name in ("images", "blur_maps"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file,desirability,split"]
    splits = ("train", "train", "validation", "test")
    for index, (label, split) in enumerate(zip(("no-blur", "good-blur", "", "bad-blur"), splits, strict=True)):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / "images" / f"{index}.jpg")
        levels = np.repeat(np.uint8([0, 1, 2, 3, 255]), 12)[None].repeat(40, 0)
        if index < 3:
            Image.fromarray(levels).save(folder / "blur_maps" / f"{index}.png")
        lines.append(f"{index}.jpg,{label},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_smartblur_release(release, tmp_path, capsys):
    splits = build("smartblur", release, tmp_path / "out")
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "validation": 1, "test": 1}
    row = splits["train"][1]
    assert row["desirability"] == 1 and row["source"] == "smartblur/1"
    assert np.unique(row["blur_map"]).tolist() == [0, 1, 2, 3, 255]
    assert splits["validation"][0]["desirability"] is None and splits["test"][0]["blur_map"] is None
    assert "| train | 2 | 1 | 1 | 0 | 0 | 0 | 2 | 0 |" in capsys.readouterr().out


def test_other_grey_values_of_the_levels_are_named(release, tmp_path, capsys):
    for path in (release / "blur_maps").iterdir():
        Image.fromarray(np.repeat(np.uint8([0, 85, 170, 255]), 15)[None].repeat(40, 0)).save(path)
    with pytest.raises(SystemExit):
        build("smartblur", release, tmp_path / "out")
    assert "row 2, 0.png: the value 85 is none of the levels 0, 1, 2, 3; name" in capsys.readouterr().err
    splits = build("smartblur", release, tmp_path / "out", "--levels", "0", "85", "170", "255")
    assert np.asarray(splits["train"][0]["blur_map"])[0, ::15].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.jpg,no-blur,train", "0.jpg,no-blur,training", "row 2, column split: 'training' is not one of train"),
        ("split", "part", "lacks the column split"),
    ],
)
def test_wrong_rows_of_a_release_are_named(release, tmp_path, capsys, old, new, said):
    labels = release / "labels.csv"
    labels.write_text(labels.read_text().replace(old, new))
    with pytest.raises(SystemExit):
        build("smartblur", release, tmp_path / "out")
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("names", [("images", "masks"), ("image", "gt")])
def test_cuhk_is_for_testing_only(tmp_path, names):
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / "cuhk" / name).mkdir(parents=True)
    for stem in ("motion0001", "out_of_focus0001"):
        photo = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
        photo.save(tmp_path / "cuhk" / names[0] / f"{stem}.jpg")
        mask = np.zeros((80, 120), np.uint8)
        mask[:, 60:] = 255
        Image.fromarray(mask).save(tmp_path / "cuhk" / names[1] / f"{stem}.png")
    splits = build("cuhk", tmp_path / "cuhk", tmp_path / "out")
    assert list(splits) == ["test"]
    assert [row["blur_kind"] for row in splits["test"]] == ["motion", "defocus"]
    assert np.asarray(splits["test"][0]["blur_map"])[5, [0, 119]].tolist() == [0, 254]


def test_a_photo_of_cuhk_without_a_mask_is_named(tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / "cuhk" / name).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "cuhk/images/motion0001.png")
    with pytest.raises(SystemExit):
        build("cuhk", tmp_path / "cuhk", tmp_path / "out")
    assert "1 of 1 photos have no mask" in capsys.readouterr().err


def test_a_mask_that_changed_is_read_again(release, tmp_path):
    before = build("smartblur", release, tmp_path / "out")["train"][0]
    assert np.unique(before["blur_map"]).tolist() == [0, 1, 2, 3, 255]
    Image.new("L", (60, 40), 2).save(release / "blur_maps" / "0.png")
    after = build("smartblur", release, tmp_path / "out")["train"][0]
    assert np.unique(after["blur_map"]).tolist() == [2]
