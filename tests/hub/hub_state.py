"""What the stand-in for the Hub (mini_hub.py) holds: repositories, users, and what goes wrong when."""

import dataclasses
import hashlib
import re
import threading
import time


def blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method and path (a regular expression).

    kind: "drop" closes the connection without an answer, "cut" in the middle of it, "flip" changes a byte in the middle
    of the body, and a number is answered as that status.
    """

    method: str
    path: str
    kind: str | int
    times: int = 1


class Repo:
    def __init__(self, kind, rid, **extra):
        self.kind, self.id, self.extra = kind, rid, extra
        self.commits = []  # (sha, message, {path: (bytes, is_lfs)}, parent)
        self.refs = {}
        self.tags = {}
        self.pulls = 0
        self.commit("main", "initial commit", {".gitattributes": (b"*.safetensors filter=lfs\n", False)})

    def tree(self, rev):
        sha = self.resolve(rev)
        return (sha, next(c[2] for c in self.commits if c[0] == sha)) if sha else (None, None)

    def resolve(self, rev):
        sha = self.refs.get(rev) or self.tags.get(rev)
        return sha or next((c[0] for c in self.commits if c[0] == rev), None)

    def commit(self, rev, message, files):
        sha = hashlib.sha1(f"{self.id}{len(self.commits)}{message}{time.time()}".encode()).hexdigest()
        self.commits.append((sha, message, files, self.refs.get(rev)))
        self.refs[rev] = sha
        return sha

    def history(self, rev):
        """The commits of a revision, newest first."""
        sha, by_sha = self.resolve(rev), {commit[0]: commit for commit in self.commits}
        while sha:
            yield by_sha[sha]
            sha = by_sha[sha][3]


class Hub:
    def __init__(self):
        self.repos = {}
        self.lfs = {}
        self.users = {"hf_test": "tester", "hf_other": "other", "hf_read": "tester"}
        self.read_only = {"hf_read"}
        self.faults = []
        self.requests = []  # (method, path), in the order they came
        self.lock = threading.Lock()

    def fault(self, method, path):
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault.kind
        return None

    def files(self, kind, rid, rev="main"):
        """What a repository holds: bytes by path."""
        return {path: data for path, (data, _) in self.repos[kind, rid].tree(rev)[1].items()}
