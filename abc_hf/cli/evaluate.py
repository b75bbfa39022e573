"""`abc-fusenet evaluate`."""

import argparse


def evaluate(args: argparse.Namespace) -> int:
    if not args.compare and not (args.dataset and (args.model or args.predictions)):
        raise ValueError("Give MODEL, --predictions or both, with --dataset; or --compare and results.json files.")
    if args.compare and (args.model or args.predictions or args.dataset):
        raise ValueError("--compare takes results.json files alone; leave MODEL, --predictions and --dataset out.")
    if args.save_maps and not args.model:
        raise ValueError("--save-maps writes the maps of a MODEL; give one.")
    try:
        import datasets

        from ..evaluation.results import compare, evaluate_to_folder, table
    except ModuleNotFoundError as error:
        if error.name not in ("accelerate", "datasets", "sklearn"):
            raise
        raise ImportError('Evaluation needs more packages; run `pip install "abc-fusenet[train]"`.') from None
    if args.compare:
        print(compare(args.compare, args.out, args.peer_curves))
        return 0
    datasets.disable_progress_bars()
    results = evaluate_to_folder(
        args.model,
        args.dataset,
        args.split,
        args.out,
        predictions=args.predictions,
        peer_curves=args.peer_curves,
        save_maps=args.save_maps,
        max_samples=args.max_samples,
        device=args.device,
    )
    if results:  # on the main process
        print(table(results))
        print(f"{args.out} holds results.json and the figures.")
    return 0
