"""Checkpoints that are damaged, and disks that are full."""

import json
import resource
import shutil
import signal

import pytest
import torch

from abc_hf.training.checkpoints import SUMS, find_checkpoint, replacing_folder, save_checkpoint


class OneProcess:
    """What `save_checkpoint` needs of an `Accelerator`."""

    is_main_process = True

    def wait_for_everyone(self):
        pass

    def save_state(self, folder):
        torch.save({"weights": torch.zeros(1000)}, folder / "model.bin")


@pytest.fixture
def checkpoints(tmp_path):
    """A folder with checkpoints of the steps 2 and 3."""
    for step in (1, 2, 3):
        save_checkpoint(OneProcess(), tmp_path, step, {"step": step}, limit=2)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_ones_are_kept_and_the_last_is_found(checkpoints):
    assert names(checkpoints) == ["step-000002", "step-000003"]
    assert find_checkpoint("latest", checkpoints).name == "step-000003"


def cut_short(checkpoint):
    path = checkpoint / "model.bin"
    path.write_bytes(path.read_bytes()[:100])


def flipped(checkpoint):
    path = checkpoint / "model.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        flipped,
        lambda checkpoint: (checkpoint / "extra.pt").unlink(),
        lambda checkpoint: (checkpoint / "extra.pt").write_bytes(b""),
        lambda checkpoint: (checkpoint / SUMS).write_text("{"),
        lambda checkpoint: (checkpoint / SUMS).write_text("[]"),
    ],
)
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_taken(checkpoints, damage, caplog):
    damage(checkpoints / "step-000003")
    assert find_checkpoint("latest", checkpoints).name == "step-000002"
    said = caplog.messages
    assert len(said) == 1 and "step-000003 is damaged" in said[0] and said[0].endswith(".")
    with pytest.raises(ValueError, match=r"step-000003: its file .* is damaged; give an earlier one, or latest\."):
        find_checkpoint(str(checkpoints / "step-000003"), checkpoints)


def test_without_one_that_is_whole_the_phase_begins_anew(checkpoints, caplog):
    for checkpoint in checkpoints.iterdir():
        cut_short(checkpoint)
    assert find_checkpoint("latest", checkpoints) is None
    assert len(caplog.messages) == 3 and caplog.messages[-1].endswith("the phase starts from the beginning.")


def test_a_damaged_later_one_does_not_push_out_a_whole_one(checkpoints):
    cut_short(checkpoints / "step-000003")
    shutil.move(checkpoints / "step-000003", checkpoints / "step-000009")
    for step in (3, 4):
        save_checkpoint(OneProcess(), checkpoints, step, {}, limit=1)
    assert names(checkpoints) == ["step-000004", "step-000009"]


def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_stays(checkpoints):
    """The limit on the size of files stands in for the disk: writing fails after a kilobyte."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ValueError) as error:
            save_checkpoint(OneProcess(), checkpoints, 4, {}, limit=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "step-000004 cannot be written (" in str(error.value) and "\n" not in str(error.value)
    assert "make room on the disk" in str(error.value)
    assert names(checkpoints) == ["step-000002", "step-000003"]
    assert find_checkpoint("latest", checkpoints).name == "step-000003"


def test_the_best_weights_stay_until_others_are_complete(tmp_path):
    best = tmp_path / "best"
    with replacing_folder(best) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(ValueError, match="best cannot be written"), replacing_folder(best) as folder:
        (folder / "weights").write_text("half of the n")
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == ["best"] and (best / "weights").read_text() == "old"


def test_sums_are_of_all_files(checkpoints):
    assert set(json.loads((checkpoints / "step-000003" / SUMS).read_text())) == {"model.bin", "extra.pt"}
