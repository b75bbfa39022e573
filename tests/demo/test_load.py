"""Twenty users at once: no answer is lost or mixed up, and the memory is given back."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from abc_hf import load_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the client's own: what it leaves open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
USERS = 20
SECONDS = float(os.environ.get("ABC_LOAD_SECONDS", 120))
"""How long they ask for; the variable shortens it."""
WARM_UP = 15
"""Seconds of the same before memory is first looked at."""
ROOM = 100
"""How much more memory may be held afterwards [MB]: allocators keep a little."""


def memory(process: subprocess.Popen) -> float:
    """Resident memory [MB]."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def test_twenty_users_for_two_minutes(tiny_folder, photo, tmp_path, monkeypatch):
    pipeline = load_pipeline(tiny_folder, engine="torch")
    paths = [tmp_path / f"{user}.jpg" for user in range(USERS)]
    for user, path in enumerate(paths):
        photo(1200 + 8 * user, 800, user).save(path)
    expected = [pipeline(path).to_dict() for path in paths]
    assert len({tuple(each["probabilities"].values()) for each in expected}) == USERS
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr("gradio_client.client.build_hf_headers", lambda **_: {})

    command = [sys.executable, "-m", "abc_hf", "demo", "--model", tiny_folder, "--no-browser", "--port", "7923"]
    command += ["--engine", "torch"]  # auto changes to OpenVINO in between, whose answers differ by rounding
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "GRADIO_TEMP_DIR": str(tmp_path / "sent")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            clients = [
                Client(address, verbose=False, analytics_enabled=False, download_files=tmp_path / "answers")
                for _ in range(USERS)
            ]

            def ask(user):
                return clients[user].predict(photo=handle_file(str(paths[user])), api_name="/assess")[0]

            for user in range(USERS):  # once each, for the caches
                assert ask(user) == expected[user]
            answers, failures = [0] * USERS, []

            def use(user, until):
                while time.monotonic() < until:
                    try:
                        if ask(user) != expected[user]:
                            failures.append(f"user {user}: another answer")
                    except Exception as error:  # reported below
                        failures.append(f"user {user}: {error}")
                    answers[user] += 1

            held = []
            for seconds in (WARM_UP, SECONDS):  # what allocators keep under load is there after the first
                until = time.monotonic() + seconds
                threads = [threading.Thread(target=use, args=(user, until)) for user in range(USERS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                time.sleep(5)
                held.append(memory(server))
            assert failures == []
            assert min(answers) >= 1
        finally:
            server.terminate()
    before, after = held
    print(f"{sum(answers)} answers, {min(answers)} to {max(answers)} a user; {before:.0f} MB before, {after:.0f} after")
    assert after <= before + ROOM
