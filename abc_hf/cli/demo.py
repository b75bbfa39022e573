"""`abc-fusenet demo`."""

import argparse

from ..common.text import waiting


def run_demo(args: argparse.Namespace) -> int:
    from ..inference.allocator import one_arena

    one_arena()
    with waiting("The demo is starting"):
        try:
            from ..demo import build_demo, launch
            from ..inference.loading import load_pipeline
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise ImportError('The demo needs Gradio; run `pip install "abc-fusenet[demo]"`.') from None
        page = build_demo(load_pipeline(args.model, device=args.device))
    launch(page, mcp=args.mcp, server_port=args.port, share=args.share, inbrowser=not args.no_browser)
    return 0
