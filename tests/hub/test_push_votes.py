"""Single votes pushed to a Hub on this machine, as a stranger reads them."""

import csv
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from hub import push_votes
from tests.hub.card_schema import problems

HEADER = "file,annotator,desirability,blur_kind,subject,rest,sure"
VOTES = (
    "consumer/images/a.jpg,b.1,no-blur,,0,0,1",
    "consumer/images/a.jpg,b.2,no-blur,,0,0,1",
    "consumer/images/b.jpg,b.1,ok-blur,defocus,,1,0",
    "consumer/images/b.jpg,b.2,good-blur,defocus,0,2,1",
    "consumer/images/c.jpg,b.1,not-a-photo,,,,1",
    "cuhk/images/d.jpg,t0.1,bad-blur,motion,3,2,1",
)


def write(folder: Path, votes=VOTES) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "votes.csv").write_text("\n".join([HEADER, *votes]) + "\n")
    labels = {"a": "no-blur", "b": "ok-blur", "c": "not-a-photo"}
    lines = [f"consumer/images/{name}.jpg,{label},,train" for name, label in labels.items()]
    text = ["file,desirability,blur_kind,split", *lines, "cuhk/images/d.jpg,bad-blur,motion,test"]
    (folder / "desirability.csv").write_text("\n".join(text) + "\n")
    return folder / "votes.csv"


READ = """
import datasets, json
splits = datasets.load_dataset("tester/votes")
names = splits["train"].features["desirability"].names
print(json.dumps({"names": names, **{name: list(rows) for name, rows in splits.items()}}))
"""


@pytest.mark.slow
def test_a_stranger_reads_each_vote(stand, tmp_path, capsys):
    path = write(tmp_path / "data")
    push_votes.main([str(path), "--repo", "tester/votes", "--links", "tester/blur", "spaces/tester/demo", "--yes"])
    out = capsys.readouterr().out
    assert "Kept 5 votes; 1 are of files that are no photos." in out
    files = stand.hub.files("dataset", "tester/votes")
    card = files["README.md"].decode()
    assert problems("dataset", card) == [] and "{{" not in card
    assert "Of 2 pairs of votes of one photo, 50.0% agree" in card and "Of the 1 pairs in which both were sure" in card
    for link in ("https://huggingface.co/tester/blur", "https://huggingface.co/spaces/tester/demo", "thecvf.com"):
        assert link in card
    assert {Path(name).suffix for name in files} <= {".md", ".parquet", ""}  # no photos
    read = stand.run(READ, tmp_path)
    with path.open() as file:
        expected = [row for row in csv.DictReader(file) if row["file"] != "consumer/images/c.jpg"]
    for row, told in zip(expected, [*read["train"], *read["test"]], strict=True):
        assert (row["file"], row["annotator"]) == (told["file"], told["annotator"])
        assert row["desirability"] == read["names"][told["desirability"]]
        assert row["blur_kind"] == (told["blur_kind"] or "")
        for name in ("subject", "rest"):
            assert row[name] == ("" if told[name] is None else str(told[name]))
        assert (row["sure"] == "1") is told["sure"]


def test_agreement_is_that_of_scikit_learn():
    names = ("no-blur", "good-blur", "ok-blur", "bad-blur")
    choices = [(0, 0), (1, 1), (1, 2), (2, 1), (3, 3), (3, 0), (2, 2), (0, 0)]
    rows = [
        {"file": str(photo), "desirability": names[choice], "sure": photo % 2 == 0}
        for photo, pair in enumerate(choices)
        for choice in pair
    ]
    figures = push_votes.agreement(rows)
    both = [*choices, *((other, one) for one, other in choices)]
    assert figures["kappa"] == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
    assert (figures["pairs"], figures["agreed"], figures["sure"]) == (8, 5 / 8, 4)
    assert figures["sure_agreed"] == 3 / 4


@pytest.mark.parametrize(
    ("vote", "said"),
    [
        ("../a.jpg,b.1,no-blur,,0,0,1", "row 8: ../a.jpg is not a path in a data set"),
        ("consumer/images/a.jpg,b.1,fine,,0,0,1", "row 8: 'fine' is not one of no-blur"),
        ("consumer/images/a.jpg,b.1,no-blur,,x,0,1", "row 8: subject, rest, sure must be whole numbers"),
    ],
)
def test_a_wrong_vote_is_refused_with_its_row(tmp_path, vote, said):
    with pytest.raises(ValueError, match=said):
        push_votes.read_rows(write(tmp_path / "data", (*VOTES, vote)))


def test_a_file_of_labels_is_no_file_of_votes(tmp_path):
    path = write(tmp_path / "data").with_name("desirability.csv")
    with pytest.raises(ValueError, match="lacks the column annotator, rest, subject, sure"):
        push_votes.read_rows(path)
