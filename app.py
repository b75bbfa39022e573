# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo with the weights that come with the package, here or as a Hugging Face Space: `python app.py`."""

try:
    from spaces import GPU  # ZeroGPU wants it before torch; on other machines it changes nothing
except ImportError:
    GPU = None

from abc_hf import load_pipeline
from abc_hf.engines import one_arena

if __name__ == "__main__":
    one_arena()
    from abc_hf.demo import build_demo, launch  # not before: Gradio begins a thread

    launch(build_demo(load_pipeline(), on_gpu=GPU))
