"""A small in-memory server that speaks what the clients of the Hub ask of it, for tests: on this machine, nothing kept.

    python -m tests.hub.mini_hub PORT [LOGFILE]   then   HF_ENDPOINT=http://127.0.0.1:PORT HF_HUB_DISABLE_XET=1

Written from a trace of huggingface_hub 2.4, transformers 5.23, datasets 5.2 and gradio_client 2.7; it knows no more
than they asked. It has users with a token (that may write, or read only), private repositories, branches, tags, pull
requests, git's and LFS's digests, byte ranges, and the check of a card's metadata (card_schema.py). It has no Xet, no
multipart uploads, no redirects to another host, no quotas, no organisations' rights, and never forgets a commit.
`Hub.faults` makes it drop connections, cut answers short, change bytes or fail, as often as it is told to.
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub.card_schema import problems
from tests.hub.hub_state import Fault, Hub, Repo, blob_id

__all__ = ["Fault", "Hub", "Repo", "serve"]
PLURAL = {"models": "model", "datasets": "dataset", "spaces": "space"}
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
LFS_OVER = 10 * 1024 * 1024
LFS_EXT = (".safetensors", ".bin", ".pt", ".pkl", ".parquet", ".zip", ".onnx", ".png", ".jpg", ".arrow")
TIME = "2026-01-01T00:00:00.000Z"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    log_to = None
    fault = None

    def log_message(self, *a):
        pass

    # ---- helpers
    def send(self, code, body=b"", ctype="application/json", head=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(body)))
        for k, v in (head or {}).items():
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            if self.fault == "flip" and body:
                body = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
            if self.fault == "cut":
                self.wfile.write(body[: len(body) // 2])
                return self.hang_up()
            self.wfile.write(body)
        if self.log_to:
            with open(self.log_to, "a") as f:
                print(code, self.command, self.path, f"auth={'y' if self.token() else 'n'}", file=f)

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def error(self, code, err, msg):
        self.send(code, {"error": msg}, head={"X-Error-Code": err, "X-Error-Message": msg})

    def body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            out = b""
            while n := int(self.rfile.readline().split(b";")[0], 16):
                out += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
            return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def user(self):
        return self.hub.users.get(self.token())

    def may_write(self, owner):
        """Whether the token may write to what a user owns; answers the request if not."""
        if not self.user():
            self.error(401, "", "Invalid credentials in Authorization header")
        elif self.token() in self.hub.read_only or self.user() != owner:
            self.error(403, "", "Forbidden: you don't have the required permissions")
        else:
            return True
        return False

    def handle_any(self):
        u = urlsplit(self.path)
        path, q = u.path, parse_qs(u.query, keep_blank_values=True)
        data = self.body()
        with self.hub.lock:
            self.hub.requests.append((self.command, unquote(path)))
            self.fault = self.hub.fault(self.command, unquote(path))
        if self.fault == "drop":
            return self.hang_up()
        if isinstance(self.fault, int):
            return self.error(self.fault, "", "as it was told to")
        if self.token() and not self.user():
            return self.error(401, "", "Invalid credentials in Authorization header")
        for method, pattern, fn in ROUTES:
            if (method == self.command or (method == "GET" and self.command == "HEAD")) and (
                m := re.fullmatch(pattern, path)
            ):
                groups = {key: value if value is None else unquote(value) for key, value in m.groupdict().items()}
                try:
                    with self.hub.lock:
                        return fn(self, q, data, **groups)
                except OSError:
                    raise
                except Exception as error:  # a fault of this file; a test should see it
                    return self.error(500, "", f"{type(error).__name__}: {error}")
        self.error(404, "NotImplemented", f"no route for {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def repo(self, kind, rid):
        r = self.hub.repos.get((kind, rid))
        if r is None or (r.extra.get("private") and self.user() != rid.split("/")[0]):
            return self.error(404, "RepoNotFound", "Repository not found")
        return r

    def entry(self, path, data, lfs):
        e = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
        if lfs:
            sha = hashlib.sha256(data).hexdigest()
            e["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
        return e


def whoami(h, q, d):
    if not h.user():
        return h.error(401, "", "Invalid credentials")
    h.send(
        200,
        {
            "type": "user",
            "name": h.user(),
            "fullname": h.user(),
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": "t", "role": "write"}},
        },
    )


def create(h, q, d):
    p = json.loads(d)
    p["private"] = p.get("private") or p.get("visibility") == "private"
    kind, owner = p.get("type") or "model", p.get("organization") or h.user()
    if not h.may_write(owner):
        return
    if kind == "space" and not p.get("sdk"):
        return h.error(400, "", "A Space needs an sdk")
    rid = f"{owner}/{p['name']}"
    url = f"http://{h.headers['Host']}/{PREFIX[kind]}{rid}"
    if (kind, rid) in h.hub.repos:
        return h.send(409, {"error": "You already created this repo", "url": url, "name": rid, "id": rid})
    h.hub.repos[kind, rid] = Repo(
        kind, rid, **{k: v for k, v in p.items() if k not in ("name", "organization", "type")}
    )
    h.send(200, {"url": url, "name": rid, "id": rid})


def delete(h, q, d):
    p = json.loads(d)
    if not h.may_write(p.get("organization") or h.user()):
        return
    h.hub.repos.pop((p.get("type") or "model", f"{p.get('organization') or h.user()}/{p['name']}"), None)
    h.send(200, {})


def preupload(h, q, d, kind, rid, rev):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    if "create_pr" not in q and not h.may_write(rid.split("/")[0]):
        return
    _, tree = r.tree(rev)
    out = []
    for f in json.loads(d)["files"]:
        old = (tree or {}).get(f["path"])
        oid = None
        if old:
            oid = hashlib.sha256(old[0]).hexdigest() if old[1] else blob_id(old[0])
        lfs = f["size"] > LFS_OVER or f["path"].endswith(LFS_EXT)
        out.append({"path": f["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid})
    h.send(200, {"files": out})


def lfs_batch(h, q, d, prefix, rid):
    p = json.loads(d)
    base = f"http://{h.headers['Host']}/_lfs/"
    objs = []
    for o in p["objects"]:
        e = {"oid": o["oid"], "size": o["size"]}
        if o["oid"] not in h.hub.lfs:
            e["actions"] = {"upload": {"href": base + o["oid"]}, "verify": {"href": base + "verify"}}
        objs.append(e)
    h.send(200, {"transfer": "basic", "objects": objs}, "application/vnd.git-lfs+json")


def lfs_put(h, q, d, oid):
    if hashlib.sha256(d).hexdigest() != oid:
        return h.error(400, "", "sha256 mismatch")
    h.hub.lfs[oid] = d
    h.send(200, b"", head={"ETag": f'"{oid}"'})


def lfs_verify(h, q, d):
    h.send(200 if json.loads(d)["oid"] in h.hub.lfs else 404, {})


def commit(h, q, d, kind, rid, rev):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    pull = "create_pr" in q
    if not h.user() or not (pull or h.may_write(rid.split("/")[0])):
        return h.user() or h.error(401, "", "Invalid credentials")
    _, tree = r.tree(rev)
    if tree is None:
        return h.error(404, "RevisionNotFound", "Invalid rev id")
    tree, head = dict(tree), {}
    for line in filter(None, d.split(b"\n")):
        o = json.loads(line)
        v = o["value"]
        if o["key"] == "header":
            head = v
            if v.get("parentCommit") and v["parentCommit"] != r.refs[rev]:
                return h.error(412, "", "A commit has happened since")
        elif o["key"] == "file":
            tree[v["path"]] = (base64.b64decode(v["content"]), False)
        elif o["key"] == "lfsFile":
            if v["oid"] not in h.hub.lfs:
                return h.error(400, "", f"LFS pointer pointed to a file that does not exist: {v['path']}")
            tree[v["path"]] = (h.hub.lfs[v["oid"]], True)
        elif o["key"] == "deletedFile":
            tree.pop(v["path"], None)
        elif o["key"] == "deletedFolder":
            tree = {k: x for k, x in tree.items() if not k.startswith(v["path"].rstrip("/") + "/")}
    url, about = f"http://{h.headers['Host']}/{PREFIX[r.kind]}{rid}", {}
    if pull:
        r.pulls += 1
        head_of, rev = r.refs[rev], f"refs/pr/{r.pulls}"
        r.refs[rev] = head_of
        about = {"pullRequestUrl": f"{url}/discussions/{r.pulls}"}
    sha = r.commit(rev, head.get("summary", ""), tree)
    answer = {"success": True, "commitOid": sha, "hookOutput": "", "commitUrl": f"{url}/commit/{sha}"}
    h.send(200, answer | about)


def card_data(tree):
    if "README.md" in tree and (m := re.match(r"---\n(.*?)\n---", tree["README.md"][0].decode(), re.S)):
        return yaml.safe_load(m[1]) or {}
    return {}


def info(h, q, d, kind, rid, rev="main"):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    sha, tree = r.tree(rev)
    if sha is None:
        return h.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
    card = card_data(tree)
    sib = []
    for p, (data, lfs) in sorted(tree.items()):
        s = {"rfilename": p}
        if "blobs" in q:
            e = h.entry(p, data, lfs)
            s |= {"blobId": e["oid"], "size": e["size"]}
            if lfs:
                s["lfs"] = {"sha256": e["lfs"]["oid"], "size": e["size"], "pointerSize": 134}
        sib.append(s)
    out = {
        "_id": "0" * 24,
        "id": rid,
        "author": rid.split("/")[0],
        "sha": sha,
        "lastModified": TIME,
        "createdAt": TIME,
        "private": bool(r.extra.get("private")),
        "disabled": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "tags": card.get("tags", []),
        "siblings": sib,
        "cardData": card,
    }
    if r.kind == "model":
        out |= {
            "modelId": rid,
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "config": json.loads(tree["config.json"][0]) if "config.json" in tree else None,
        }
    if r.kind == "space":
        host = r.extra.get("host")
        out |= {"sdk": card.get("sdk") or r.extra.get("sdk"), "host": host, "subdomain": rid.replace("/", "-")}
        out |= {"runtime": {"stage": "RUNNING" if host else "BUILDING", "hardware": {}, "gcTimeout": None}}
    h.send(200, out)


def tree_list(h, q, d, kind, rid, rev, path=""):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    sha, tree = r.tree(rev)
    if sha is None:
        return h.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
    path = (path or "").strip("/")
    rec = q.get("recursive", ["false"])[0].lower() in ("true", "1")
    out, dirs = [], {}
    for p, (data, lfs) in sorted(tree.items()):
        if path and not p.startswith(path + "/"):
            continue
        parts = p[len(path) + 1 if path else 0 :].split("/")
        for i in range(1, len(parts) if rec else min(len(parts), 2)):
            name = "/".join(([path] if path else []) + parts[:i])
            if name not in dirs:
                oid = hashlib.sha1(name.encode()).hexdigest()
                dirs[name] = {"type": "directory", "path": name, "size": 0, "oid": oid}
        if rec or len(parts) == 1:
            out.append(h.entry(p, data, lfs))
    if path and not out and not dirs:
        return h.error(404, "EntryNotFound", f"{path} does not exist")
    h.send(200, list(dirs.values()) + out, head={"X-Repo-Commit": sha})


def paths_info(h, q, d, kind, rid, rev):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    sha, tree = r.tree(rev)
    if sha is None:
        return h.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
    form = json.loads(d) if d.startswith(b"{") else parse_qs(d.decode())
    expand = str(form.get("expand", False)).strip("[']").lower() == "true"
    last = {"lastCommit": {"id": sha, "title": "", "date": TIME}} if expand else {}
    out = []
    for p in form.get("paths", []):
        if p in tree:
            out.append(h.entry(p, *tree[p]) | last)
        elif any(k.startswith(p.rstrip("/") + "/") for k in tree):
            out.append({"type": "directory", "path": p, "size": 0, "oid": hashlib.sha1(p.encode()).hexdigest()})
    h.send(200, out)


def resolve(h, q, d, prefix, rid, rev, path):
    kind = {"": "model", "datasets/": "dataset", "spaces/": "space", "api/": "model"}[prefix]
    if not (r := h.repo(kind, rid)):
        return
    sha, tree = r.tree(rev)
    if sha is None:
        return h.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
    head = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
    if path not in tree:
        missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return h.send(404, {"error": "Entry not found"}, head=head | missing)
    data, lfs = tree[path]
    etag = hashlib.sha256(data).hexdigest() if lfs else blob_id(data)
    head |= {"ETag": f'"{etag}"'}
    if lfs:
        head |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
    if m := re.match(r"bytes=(\d+)-(\d*)", h.headers.get("Range") or ""):
        a, b = int(m[1]), int(m[2] or len(data) - 1)
        b = min(b, len(data) - 1)
        return h.send(
            206, data[a : b + 1], "application/octet-stream", head | {"Content-Range": f"bytes {a}-{b}/{len(data)}"}
        )
    h.send(200, data, "application/octet-stream", head)


def refs(h, q, d, kind, rid):
    if not (r := h.repo(PLURAL[kind], rid)):
        return

    def listed(names, kind):
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in names.items()]

    heads = {name: sha for name, sha in r.refs.items() if not name.startswith("refs/")}
    h.send(200, {"branches": listed(heads, "heads"), "tags": listed(r.tags, "tags"), "converts": []})


def commits(h, q, d, kind, rid, rev):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    if r.resolve(rev) is None:
        return h.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
    about = {"message": "", "date": TIME, "authors": [{"user": "tester"}]}
    h.send(200, [about | {"id": c[0], "title": c[1]} for c in r.history(rev)])


def runtime(h, q, d, rid):
    if r := h.repo("space", rid):
        stage = "RUNNING" if r.extra.get("host") else "BUILDING"
        h.send(200, {"stage": stage, "hardware": {"current": None, "requested": None}, "gcTimeout": None})


def branch(h, q, d, kind, rid, name):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    if not h.may_write(rid.split("/")[0]):
        return
    if name in r.refs:
        return h.error(409, "", "Reference already exists")
    r.refs[name] = r.resolve((json.loads(d or b"{}") or {}).get("startingPoint") or "main")
    h.send(200, {})


def tag(h, q, d, kind, rid, rev):
    if not (r := h.repo(PLURAL[kind], rid)):
        return
    if not h.may_write(rid.split("/")[0]):
        return
    name = json.loads(d)["tag"]
    if name in r.tags:
        return h.error(409, "", "Tag reference exists already")
    r.tags[name] = r.resolve(rev)
    h.send(200, {})


def check_yaml(h, q, d):
    p = json.loads(d)
    found = problems(p["repoType"], p["content"])
    h.send(400 if found else 200, {"errors": [{"message": each} for each in found], "warnings": []})


K = r"(?P<kind>models|datasets|spaces)/(?P<rid>[^/]+/[^/]+)"
P = r"(?P<prefix>|datasets/|spaces/)(?P<rid>[^/]+/[^/]+?)"
ROUTES = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/repos/create", create),
    ("DELETE", r"/api/repos/delete", delete),
    ("POST", r"/api/validate-yaml", check_yaml),
    ("POST", rf"/api/{K}/preupload/(?P<rev>[^/]+)", preupload),
    ("POST", rf"/api/{K}/commit/(?P<rev>[^/]+)", commit),
    ("POST", rf"/api/{K}/paths-info/(?P<rev>[^/]+)", paths_info),
    ("POST", rf"/api/{K}/branch/(?P<name>.+)", branch),
    ("POST", rf"/api/{K}/tag/(?P<rev>.+)", tag),
    ("GET", rf"/api/{K}/tree/(?P<rev>[^/]+)(?P<path>/.*)?", tree_list),
    ("GET", rf"/api/{K}/revision/(?P<rev>[^/]+)", info),
    ("GET", rf"/api/{K}/refs", refs),
    ("GET", r"/api/spaces/(?P<rid>[^/]+/[^/]+)/runtime", runtime),
    ("GET", rf"/api/{K}/commits/(?P<rev>[^/]+)", commits),
    ("GET", rf"/api/{K}", info),
    ("POST", rf"/{P}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("POST", r"/_lfs/verify", lfs_verify),
    ("GET", rf"/{P}/(?:resolve|raw)/(?P<rev>[^/]+)/(?P<path>.+)", resolve),
]


def serve(port=0, log_to=None, hub=None):
    """-> (server, url); the server runs in a daemon thread until server.shutdown()."""
    cls = type("H", (Handler,), {"hub": hub or Hub(), "log_to": log_to})
    s = ThreadingHTTPServer(("127.0.0.1", port), cls)
    s.daemon_threads = True
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s, f"http://127.0.0.1:{s.server_port}"


if __name__ == "__main__":
    server, url = serve(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    print(url, flush=True)
    threading.Event().wait()
