"""Tries a folder before it is uploaded. hub/uploading.py runs this file in a fresh interpreter (`python -I`).

    cold.py model FOLDER PHOTO ANSWERS   with remote code, where abc_hf cannot be imported; maps go to ANSWERS (.npz)
    cold.py dataset FOLDER CONFIG...     as a data set, whole and as a stream
    cold.py space FOLDER PHOTO           with the code of the folder alone

The last line it prints is JSON.
"""

import json
import os
import sys
from typing import Any


def model(folder: str, photo: str, answers: str) -> dict:
    sys.modules["abc_hf"] = None  # type: ignore[assignment]  # installed or not: importing it fails
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

    trusted: dict[str, Any] = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(folder, **trusted)
    processor = AutoImageProcessor.from_pretrained(folder, **trusted)
    inputs = processor(Image.open(photo).convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        branches = AutoModel.from_pretrained(folder, **trusted).eval()(**inputs)
        whole = AutoModelForImageClassification.from_pretrained(folder, **trusted).eval()(**inputs)
    task: Any = "blur-understanding"  # of the folder's own code
    report = pipeline(task, model=folder, **trusted)(photo)
    for thing in (config, processor, report):
        if not type(thing).__module__.startswith("transformers_modules."):
            raise ImportError(f"{type(thing).__name__} is not that of the folder")
    np.savez(
        answers,
        branches_blur_map=branches.blur_map.numpy(),
        branches_attention_map=branches.attention_map.numpy(),
        logits=whole.logits.numpy(),
        blur_map=whole.blur_map.numpy(),
        attention_map=whole.attention_map.numpy(),
        report_blur_map=report.blur_map,
        report_attention_map=report.attention_map,
    )
    return report.to_dict()


def dataset(folder: str, *configs: str) -> dict:
    """The number of rows, by configuration and split."""
    import datasets

    told = {}
    for config in configs:
        splits = datasets.load_dataset(folder, config)
        told[config] = {name: len(rows) for name, rows in splits.items()}
        for name, rows in splits.items():
            stream = next(iter(datasets.load_dataset(folder, config, split=name, streaming=True)))
            for row in (rows[0], rows[-1]):  # photos and maps are decoded
                if row.keys() != stream.keys():
                    raise ValueError(f"the split {name} has other columns as a stream")
    return told


def space(folder: str, photo: str) -> dict:
    sys.path.insert(0, folder)
    import abc_hf
    import app

    if not abc_hf.__file__.startswith(folder):
        raise ImportError(f"abc_hf is that of {abc_hf.__file__}")
    pipeline = abc_hf.load_pipeline()
    demo = app.build_demo(pipeline)
    names = sorted(name for name in demo.get_api_info()["named_endpoints"])
    return {"report": pipeline(photo).to_dict(), "endpoints": names}


if __name__ == "__main__":
    actions: dict[str, Any] = {"model": model, "dataset": dataset, "space": space}
    told = actions[sys.argv[1]](*sys.argv[2:])
    print("\n" + json.dumps(told), flush=True)
    os._exit(0)  # a stream that is not read to its end leaves threads that sometimes abort an ordinary exit
