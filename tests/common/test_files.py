import os
import stat
from pathlib import Path

import pytest

from abc_hf.common.files import check_results, rename_new, replacing, unique_stems, write_bytes


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("table.csv", "before")]
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("table.csv", "after")]


def test_temporary_names_differ_every_time_and_are_hidden(tmp_path):
    names = set()
    for _ in range(20):
        with replacing(tmp_path / "a") as file:
            names.add(Path(file.name).name)
    assert len(names) == 20
    assert all(name.startswith(".") and name.endswith(".partial") and len(name) == 25 for name in names)


def test_a_file_of_the_users_with_the_temporary_name_is_not_touched(tmp_path, monkeypatch):
    """Even if the name is guessed: a link there would lead anywhere."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".guessed.partial").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_bytes(tmp_path / "new", b"data")
    assert victim.read_text() == "mine" and not (tmp_path / "new").exists()


def test_a_link_of_that_name_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link").symlink_to(victim)
    write_bytes(tmp_path / "link", b"data")
    assert victim.read_text() == "mine" and (tmp_path / "link").read_bytes() == b"data"
    assert not (tmp_path / "link").is_symlink()


def test_results_replace_only_results(tmp_path):
    check_results(tmp_path / "new", "mark", ["a"])
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ValueError, match=r"a is no result of this command; choose another folder, or move it away\."):
        check_results(tmp_path, "mark", ["b", "a"])
    check_results(tmp_path, "mark", ["b"])
    (tmp_path / "mark").mkdir()
    check_results(tmp_path, "mark", ["b", "a"])


@pytest.mark.parametrize("name", ["x" * 248, "x" * 255, "é" * 127])
def test_long_names(tmp_path, name):
    write_bytes(tmp_path / name, b"1")
    write_bytes(tmp_path / name, b"2")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(name, b"2")]


def test_permissions_stay(tmp_path):
    path = tmp_path / "private"
    path.touch(0o600)
    write_bytes(path, b"data")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    mask = os.umask(0o022)
    try:
        write_bytes(tmp_path / "new", b"data")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_nothing_is_replaced_where_that_is_not_wanted(tmp_path, monkeypatch, links):
    if not links:  # exFAT, for one

        def link(*_, **__):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FileExistsError), replacing(tmp_path / "taken", overwrite=False) as file:
        file.write(b"data")
    (tmp_path / "other").write_text("other")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "other", tmp_path / "taken")
    rename_new(tmp_path / "other", tmp_path / "free")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"taken": "mine", "free": "other"}


def test_stems_are_unique_and_short():
    names = ["a/x.jpg", "b/X.png", "c/" + "é" * 122 + ".jpg", "d/" + "é" * 122 + ".jpg"]
    assert unique_stems(list(map(Path, names))) == ["x", "X-2", "é" * 110, "é" * 110 + "-2"]
