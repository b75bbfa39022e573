"""`abc-fusenet demo`."""

import argparse

from ..common.text import printable, waiting


def run_demo(args: argparse.Namespace) -> int:
    from ..inference.allocator import one_arena

    one_arena()
    with waiting("The page is being written" if args.static else "The demo is starting"):
        try:
            from ..demo import build_demo, launch
            from ..inference.loading import load_pipeline
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise ImportError('The demo needs Gradio; run `pip install "abc-fusenet[demo]"`.') from None
        if args.static:
            from ..demo.static import write_static

            files = write_static(load_pipeline(args.model, device="cpu"), args.static)
        else:
            page = build_demo(load_pipeline(args.model, device=args.device, engine=args.engine))
    if args.static:
        out = printable(args.static)
        print(f"{out} holds {len(files)} files. Serve them: `python -m http.server --directory {out}`.")
        return 0
    launch(page, mcp=args.mcp, server_port=args.port, share=args.share, inbrowser=not args.no_browser)
    return 0
