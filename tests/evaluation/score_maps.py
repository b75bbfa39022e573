#!/usr/bin/env python3
"""Score predicted blur maps against binary blur masks, the three ways the literature does.

    python score_maps.py PRED_DIR MASK_DIR [--prefix out_of_focus] [--json OUT]

PRED_DIR holds one map per mask, same stem: 8- or 16-bit grey PNG, or .npy (float, 0 = sharp .. 1 = blurred). A map is
resized bilinearly to its mask. Masks: 255 = blurred. Needs numpy and Pillow only.

  pooled AP      average precision over all pixels of all photos together (absolute scale matters) per-photo AP   mean
  of each photo's own average precision (only the ranking inside a photo matters) curve AP       area under the
  precision-recall curve averaged over photos at 256 thresholds, each map first stretched to its own
                 0..255, as the published peers were scored (HiFST's evaluation script); use it to stand beside
                 published curves
  F_beta         best over thresholds of the averaged curve, beta^2 = 0.3
  MAE, IoU@0.5   mean absolute error, and intersection over union at a fixed threshold of 0.5, mean over photos
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image


def read_map(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        values = np.load(path).astype(np.float32)
    else:
        image = Image.open(path)
        values = np.asarray(image, np.float32) / (65535.0 if image.mode.startswith("I") else 255.0)
    return values[..., 0] if values.ndim == 3 else values


def counts(levels: np.ndarray, blurred: np.ndarray):
    return np.bincount(levels[blurred], minlength=256).astype(float), np.bincount(
        levels[~blurred], minlength=256
    ).astype(float)


def average_precision(pos: np.ndarray, neg: np.ndarray) -> float:
    tp, fp = np.cumsum(pos[::-1]), np.cumsum(neg[::-1])
    if tp[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(np.r_[0, tp / tp[-1]]) * tp / np.maximum(tp + fp, 1)))


def score(pairs) -> dict:
    pool = np.zeros((2, 256))
    precision, recall = np.zeros(256), np.zeros(256)
    per_photo, mae, iou = [], [], []
    for values, blurred in pairs:
        levels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
        pos, neg = counts(levels, blurred)
        pool += (pos, neg)
        per_photo.append(average_precision(pos, neg))
        mae.append(float(np.abs(values - blurred).mean()))
        hit = values >= 0.5
        iou.append(float((hit & blurred).sum() / max(1, (hit | blurred).sum())))
        span = float(values.max() - values.min())
        pos, neg = counts(np.rint((values - values.min()) / (span or 1) * 255).astype(np.uint8), blurred)
        tp, fp = np.cumsum(pos[::-1])[::-1], np.cumsum(neg[::-1])[::-1]
        precision += np.where(tp > 0, tp / np.maximum(tp + fp, 1), 0)
        recall += tp / max(tp[0], 1)
    n = len(per_photo)
    if n == 0:
        raise SystemExit("no map matched a mask: check the two folders and --prefix")
    precision, recall = precision / n, recall / n
    order = np.argsort(recall)
    curve = float(np.trapezoid(np.r_[precision[order][0], precision[order]], np.r_[0, recall[order]]))
    f_beta = float(np.max(1.3 * precision * recall / np.maximum(0.3 * precision + recall, 1e-9)))
    return {
        "photos": n,
        "pooled_ap": average_precision(*pool),
        "per_photo_ap": float(np.nanmean(per_photo)),
        "curve_ap": curve,
        "f_beta": f_beta,
        "mae": float(np.mean(mae)),
        "iou": float(np.mean(iou)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pred", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--prefix", default="", help="only masks whose name starts so: out_of_focus or motion")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    def pairs():
        for mask in sorted(args.masks.glob(f"{args.prefix}*.png")):
            found = [p for p in (args.pred / f"{mask.stem}{s}" for s in (".npy", ".png")) if p.exists()]
            if not found:
                raise SystemExit(f"no map for {mask.name} in {args.pred}")
            truth = Image.open(mask).convert("L")
            values = read_map(found[0])
            if values.shape != (truth.height, truth.width):
                values = np.asarray(Image.fromarray(values).resize(truth.size, Image.BILINEAR))
            yield np.clip(values, 0, 1), np.asarray(truth) > 127

    result = score(pairs())
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
