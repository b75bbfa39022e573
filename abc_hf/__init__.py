"""ABC-FuseNet: where a photo is blurred, what matters in it, and whether the blur is wanted.

Importing it makes transformers' Auto classes and `pipeline("blur-understanding", ...)` know the model. Only the command
`abc-fusenet` puts that off until it has read its arguments: its help need not wait for torch.
"""

import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version

__all__ = [
    "ABCFuseNetConfig",
    "ABCFuseNetForBlurUnderstanding",
    "ABCFuseNetImageProcessor",
    "ABCFuseNetModel",
    "BlurReport",
    "BlurUnderstandingPipeline",
    "VARIANTS",
    "load_photo",
    "load_pipeline",
]

try:
    __version__ = version("abc-fusenet")
except PackageNotFoundError:  # used from a checkout that is not installed
    __version__ = "unknown"


def _end(*_):
    os._exit(130)


_AS_MODULE = sys.argv[:1] == ["-m"] and not {"abc_hf", "abc_hf.cli"}.isdisjoint(sys.orig_argv)
if _AS_MODULE or os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] == "abc-fusenet":
    # Ctrl-C amid an import would come out as a traceback, or as another error: it ends the command without any until
    # `cli.interruptible`.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)

    def __getattr__(name: str):
        if name not in __all__:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        from . import registration

        return getattr(registration, name)

else:
    from .registration import (
        VARIANTS,
        ABCFuseNetConfig,
        ABCFuseNetForBlurUnderstanding,
        ABCFuseNetImageProcessor,
        ABCFuseNetModel,
        BlurReport,
        BlurUnderstandingPipeline,
        load_photo,
        load_pipeline,
    )
