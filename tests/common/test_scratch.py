import subprocess
import sys
from pathlib import Path

from abc_hf.common.scratch import own_folder

OWN = """
import os, sys
from pathlib import Path
from abc_hf.common.scratch import own_folder
print(own_folder(Path(sys.argv[2]), "demo-"), flush=True)
sys.stdin.readline()
os._exit(0) if sys.argv[1] == "crash" else None
"""


def start(folder, end: str) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWN, end, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, Path(process.stdout.readline().strip())


def test_a_start_deletes_the_folders_of_crashed_processes_alone(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "of another app").mkdir()
    crashed, left = start(folder, "crash")
    (left / "photo.jpg").write_bytes(b"1")
    crashed.communicate("\n")
    assert (left / "photo.jpg").exists()
    living, own = start(folder, "exit")
    assert not left.exists() and own.is_dir()
    another, other = start(folder, "exit")
    assert own.is_dir() and other.is_dir() and other != own
    living.communicate("\n"), another.communicate("\n")
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["of another app"]


def test_a_process_has_one_folder(tmp_path):
    folder = own_folder(tmp_path, "demo-")
    assert own_folder(folder, "demo-") == folder and folder.parent == tmp_path
