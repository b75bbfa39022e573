# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo with the weights that come with the package, here or as a Hugging Face Space: `python app.py`."""

try:
    from spaces import GPU  # ZeroGPU needs this import before torch; elsewhere it changes nothing
except ImportError:
    GPU = None

from abc_hf import load_pipeline
from abc_hf.common.text import waiting
from abc_hf.inference.allocator import one_arena

one_arena()  # before the import of Gradio, which starts a thread
from abc_hf.demo import build_demo, launch  # noqa: E402

if __name__ == "__main__":
    with waiting("The demo is starting"):
        page = build_demo(load_pipeline(), on_gpu=GPU)
    launch(page)
