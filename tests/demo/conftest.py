import pytest

from abc_hf import load_pipeline
from abc_hf.demo import build_demo, launch


@pytest.fixture(scope="module")
def demo_address(tiny_folder, tmp_path_factory):
    """The address of a running demo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("sent")))
        demo = build_demo(load_pipeline(tiny_folder, device="cpu"))
        _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield address
        demo.close(verbose=False)
