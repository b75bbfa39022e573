"""The demo with the weights that come with the package, here or as a Hugging Face Space: `python app.py`.

Where the package mcp is installed, as in a Space, the endpoints are MCP tools, too.
"""

from importlib.util import find_spec

try:
    from spaces import GPU  # ZeroGPU needs this import before torch; elsewhere it changes nothing
except ImportError:
    GPU = None

from abc_hf import load_pipeline
from abc_hf.common.text import waiting
from abc_hf.inference.allocator import one_arena

SECONDS = 15
"""The GPU time that a photo is expected to need at most. ZeroGPU prefers short calls, and refuses a call that is longer
than what is left of the visitor's time for the day."""
one_arena()  # before the import of Gradio, which starts a thread
from abc_hf.demo import build_demo, launch  # noqa: E402

if __name__ == "__main__":
    with waiting("The demo is starting"):
        page = build_demo(load_pipeline(), on_gpu=GPU and GPU(duration=SECONDS))
    launch(page, mcp=find_spec("mcp") is not None)
