"""Requests that other sites make, under names of theirs and of ours; and answers that are a sentence."""

import http.client
import json
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from starlette.datastructures import Headers

from abc_hf.demo.guard import Guard

pytestmark = [  # Gradio's own: what it leaves open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def allowed(host, origin=None, server_name="127.0.0.1", root_path=None, share_url=None) -> bool:
    demo = SimpleNamespace(share_url=share_url)
    headers = {"host": host} | ({"origin": origin} if origin is not None else {})
    return Guard(None, demo, server_name, root_path).refusal(Headers(headers)) is None


@pytest.mark.parametrize("host", ["localhost:7860", "LOCALHOST", "127.0.0.1:7860", "[::1]:7860", "127.0.0.2"])
def test_this_machine_is_known(host):
    assert allowed(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "localhost.evil.example", "10.0.0.7", "", "[::1", "a@b@c", "-"],
)
def test_other_names_are_refused(host):
    assert not allowed(host)


def test_a_server_for_everybody_has_any_address_and_the_names_it_was_told():
    assert allowed("192.168.1.5:7860", server_name="0.0.0.0")
    assert not allowed("evil.example", server_name="0.0.0.0")
    assert not allowed("0.0.0.0.evil.example", server_name="0.0.0.0")
    assert allowed("photos.lan:80", server_name="photos.lan")
    assert allowed("a.example", root_path="https://a.example/blur") and not allowed("a.example", root_path="/blur")
    assert allowed("x.gradio.live", "https://x.gradio.live", share_url="https://x.gradio.live")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "", "http://[", "x"])
def test_pages_of_other_sites_are_refused(origin):
    assert not allowed("localhost:7860", origin)


def test_pages_of_this_site_are_not():
    assert allowed("localhost:7860", "http://localhost:7860")
    assert allowed("127.0.0.1:7860", "https://a.example", root_path="https://a.example/blur")


def test_two_hosts_are_refused():
    raw = [(b"host", b"localhost"), (b"host", b"evil.example")]
    assert Guard(None, SimpleNamespace(share_url=None), "127.0.0.1", None).refusal(Headers(raw=raw)) is not None


UPLOAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nphoto\r\n--x--\r\n'


def ask(address, method="GET", path="/config", body=None, **headers) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def upload(address, **headers) -> tuple[int, str]:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    return ask(address, "POST", "/gradio_api/upload", UPLOAD, **kind, **headers)


def test_the_server_is_guarded(demo_address, monkeypatch):
    assert ask(demo_address)[0] == upload(demo_address)[0] == 200
    own = demo_address.rstrip("/")
    assert upload(demo_address, Origin=own)[0] == 200
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        status, said = upload(demo_address, **headers)
        assert status == 403 and said.endswith(".")
        assert ask(demo_address, **headers)[0] == 403
        assert ask(demo_address, "POST", "/gradio_api/mcp/", b"{}", **headers)[0] == 403
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "tester/toy")
    assert upload(demo_address, Host="tester-toy.hf.space", Origin="https://huggingface.co")[0] == 200


def call(address, endpoint, data) -> str:
    """The error that an endpoint answers with."""
    headers = {"Content-Type": "application/json"}
    status, said = ask(address, "POST", f"/gradio_api/call/{endpoint}", json.dumps({"data": data}), **headers)
    assert status == 200, said
    _, answer = ask(address, path=f"/gradio_api/call/{endpoint}/{json.loads(said)['event_id']}")
    answer = answer.strip().split("\n\n")[-1]  # heartbeats come before
    assert answer.startswith("event: error"), answer
    return json.loads(answer.split("data: ", 1)[1].split("\n")[0])["error"]


META = {"meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        *(("assess", [value]) for value in (5, "x", True, [1], {}, {"path": 5}, {"path": "/etc/passwd"})),
        *(("assess", [value | META]) for value in ({"path": 5}, {"url": "x", "path": None}, {"path": ["a"]})),
        ("assess", []),
        *(("sort", [value, 0.5]) for value in (5, "x", {"path": "x"}, [5], [None], [["a"]])),
        *(("sort", [[], value]) for value in ("x", True, None, [1], 7, {})),
        ("sort", [[]]),
        *(("full_size", [None, value]) for value in ([], {}, 5, None)),
        *(("compare", [value]) for value in (5, "ab", ["a", "b"], [5, 5])),
    ],
)
def test_wrong_arguments_get_a_sentence(demo_address, endpoint, data):
    said = call(demo_address, endpoint, data)
    assert said and said.endswith(".") and "\n" not in said and "Traceback" not in said
