import subprocess
from pathlib import Path

import pytest

from abc_hf.demo.static import PAGE_FILES

WEB = Path(__file__).parents[2] / "abc_hf" / "demo" / "web"


@pytest.mark.parametrize("file", sorted(WEB.glob("*.[hj]*")), ids=lambda file: file.name)
def test_scripts_and_templates_parse(file):
    """Node.js reads them as a browser does. Gradio evaluates an HTML file as a JavaScript template."""
    text = file.read_text() if file.suffix == ".js" else f"`{file.read_text()}`"
    try:
        subprocess.run(["node", "--check", "-"], input=text, check=True, text=True)
    except FileNotFoundError:
        pytest.skip("Node.js is not installed")


def test_every_file_is_used():
    code = "".join(file.read_text() for file in WEB.parent.glob("*.py"))
    pages = {f"static/{name}" for name in PAGE_FILES}
    files = {file.relative_to(WEB).as_posix() for file in WEB.rglob("*.*")}
    assert {name for name in files - pages if f'web_file("{name}")' not in code} == set() and pages <= files
