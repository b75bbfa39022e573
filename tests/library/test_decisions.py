import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from abc_hf.cli import main
from abc_hf.data.schema import conform
from abc_hf.library.decisions import learned_threshold, split_of, write_dataset
from tests.library.sort_toys import sort_row, write_sorted


@pytest.fixture
def culled(tmp_path):
    """Forty photos with decisions that mostly follow the score."""
    rng, rows, decisions = np.random.default_rng(0), [], {}
    for number in range(40):
        path, score = tmp_path / f"{number:02}.png", float(np.float32(rng.uniform()))
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        rows.append(sort_row(path, "bad-blur" if score < 0.3 else "good-blur", score=score))
        decisions[str(path)] = "keep" if score + rng.normal(0, 0.1) > 0.45 else "reject"
    write_sorted(tmp_path / "out", rows, 0)
    return tmp_path / "out", rows, decisions


@pytest.mark.slow
def test_no_other_threshold_gets_fewer_decisions_wrong(culled):
    out, rows, decisions = culled
    threshold, sentence = learned_threshold(out, decisions)
    rejected = np.array([decisions[row["path"]] == "reject" for row in rows])
    scores = np.array([row["score"] for row in rows])

    def wrong(at: float) -> int:
        table = confusion_matrix(rejected, scores < at)
        return table[0, 1] + table[1, 0]

    least = min(wrong(at) for at in np.linspace(-0.01, 1.01, 2000))
    assert wrong(threshold) == least
    assert f"learned from 40 decisions: it gets {least} of them wrong" in sentence


@pytest.mark.parametrize(("decision", "below"), [("keep", 0), ("reject", 40)])
def test_decisions_that_are_all_alike(culled, decision, below):
    out, rows, decisions = culled
    threshold, _ = learned_threshold(out, dict.fromkeys(decisions, decision))
    assert sum(row["score"] < threshold for row in rows) == below


def test_a_data_set_of_decisions(culled, tmp_path):
    out, _, decisions = culled
    counts = write_dataset(out, decisions, tmp_path / "mine")
    found = datasets.load_dataset(str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(found[split]) for split in found} == counts and counts.total() == 40
    kept = sum(decision == "keep" for decision in decisions.values())
    labels = [label for split in found for label in found[split]["desirability"]]
    assert sum(label != 3 for label in labels) == kept and labels.count(3) == 40 - kept
    train = conform(found["train"], "mine", "train")
    assert train[0]["image"].size == (8, 8)
    with pytest.raises(ValueError, match="is not empty"):
        write_dataset(out, decisions, tmp_path / "mine")


def test_shares_of_the_splits():
    splits = [split_of(str(number)) for number in range(5000)]
    assert splits.count("test") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits.count("validation") / 5000 == pytest.approx(0.1, abs=0.02)


def test_a_threshold_needs_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "d.csv").write_text("path,decision\na.jpg,keep\n")
    assert main(["sort", "a", "--threshold", "d.csv"]) == 1
    assert "a-sorted has no photos.parquet; sort the photos first" in capsys.readouterr().err
    assert main(["sort", "a", "--dataset", "x"]) == 1
    assert "--dataset goes with --decisions" in capsys.readouterr().err
