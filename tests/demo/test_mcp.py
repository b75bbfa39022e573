"""The demo as an MCP server, in an environment with the package that the extra `mcp` asks for."""

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "abc_hf" / "examples" / "bokeh.jpg"
CLIENT = """
import asyncio, base64, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def main(address):
    async with streamablehttp_client(address) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        print(json.dumps({tool.name: [tool.description, sorted(tool.inputSchema["properties"])] for tool in tools}))
        for photo in ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/a.jpg", "data:image/png;base64,AAAA"):
            answer = await session.call_tool("assess", {"photo": photo})
            print(json.dumps([answer.isError, answer.content[0].text]))
        good = "data:image/jpeg;name=a.jpg;base64," + base64.b64encode(open(sys.argv[2], "rb").read()).decode()
        many = {"photos": [good, "file:///etc/passwd", good], "threshold": 0}
        for tool, more in (("assess", {"photo": good}), ("sort", many)):
            answer = await session.call_tool(tool, more)
            print(json.dumps([answer.isError, answer.content[0].text]))
        for files in ([good, good], ["/etc/passwd", "/etc/passwd"]):
            answer = await session.call_tool("compare", {"photos": files})
            print(json.dumps([answer.isError, answer.content[0].text]))

asyncio.run(main(sys.argv[1]))
"""


def test_the_endpoints_are_tools(tiny_folder, tmp_path):
    project = tomllib.loads((EXAMPLE.parents[2] / "pyproject.toml").read_text())["project"]
    assert Requirement(project["optional-dependencies"]["mcp"][0]).extras == {"mcp"}
    wanted = [
        str(each).split(";")[0]
        for each in map(Requirement, requires("gradio"))
        if each.marker and each.marker.evaluate({"extra": "mcp"}) and not each.marker.evaluate({"extra": ""})
    ]
    overlay = tmp_path / "overlay"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", overlay, *wanted], check=True)

    environment = os.environ | {"PYTHONPATH": str(overlay), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "abc_hf", "demo", "--model", tiny_folder, "--no-browser", "--mcp"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.:]+", line)))
            client = [sys.executable, "-c", CLIENT, f"{address}/gradio_api/mcp/", EXAMPLE]
            answer = subprocess.run(client, env=environment, capture_output=True, text=True, check=True)
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
                request = urllib.request.Request(f"{address}/gradio_api/mcp/", b"{}", headers)
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(request)
        finally:
            server.terminate()
    tools, *answers = map(json.loads, answer.stdout.splitlines())
    *refused, one, many, compared, others = answers
    refused.append(others)
    for is_error, said in refused:
        assert is_error and "\n" not in said and "root:" not in said and "Traceback" not in said
    assert not (one[0] or many[0] or compared[0]), answers
    assert "'label'" in one[1] and many[1].count("'label'") == 2 and "as an address" in many[1]
    assert compared[1].count("'sharpness'") == 2
    assert len(refused) == 5 and "not as an address" in refused[2][1] and "not a photo" in refused[3][1]
    assert {name: parameters for name, (_, parameters) in tools.items()} == {
        "assess": ["photo"],
        "full_size_file": ["kind", "photo"],
        "sort": ["photos", "threshold"],
        "compare": ["photos"],
    }
    assert tools["assess"][0].startswith("Judge the blur")
