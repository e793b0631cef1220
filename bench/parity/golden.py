"""Figures of ultralytics for the inputs of `parity_inputs`: python golden.py INPUTS OUT.json. Called by scripts/parity.

The package is used from outside, as its users do: a model, its loss on a batch, its metric on detections.
"""
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ap_per_class, box_iou

SAMPLES = 64  # of each level: positions spread by a step that is prime to everything
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
inputs = load_file(folder / "inputs.safetensors")
images, targets = inputs["images"] / 255, inputs["targets"]
classes = 6


def model(scale):
    made = YOLO(f"yolov8{scale}.yaml").model.__class__(f"yolov8{scale}.yaml", nc=classes, verbose=False)
    made.load_state_dict(torch.load(folder / f"{scale}.pt", weights_only=True), strict=True)
    made.args = get_cfg()
    return made.float()


def levels(raw, side):
    start = 0
    for stride in (8, 16, 32):
        count = (side // stride) ** 2
        part = slice(start, start + count)
        yield torch.cat([raw["boxes"][..., part], raw["scores"][..., part]], 1)
        start += count


def raw(scale, mode):
    net = model(scale).train(mode == "train")
    with torch.no_grad():
        result = net(images)
    result = result if isinstance(result, dict) else result[1]
    figures = []
    for level in levels(result, images.shape[-1]):
        flat = level.double().flatten()
        at = [(7919 * i + 13) % flat.numel() for i in range(SAMPLES)]
        figures.append({"values": flat.numel(), "mean_abs": flat.abs().mean().item(), "samples": [[i, flat[i].item()] for i in at]})
    return figures


def losses(scale):
    net = model(scale).train()
    batch = {"img": images, "batch_idx": targets[:, 0], "cls": targets[:, 1:2], "bboxes": targets[:, 2:]}
    parts = net.loss(batch)[1]
    if isinstance(parts, dict):
        return {name.removesuffix("_loss"): float(value) for name, value in parts.items()}
    return dict(zip(("box", "cls", "dfl"), map(float, parts)))


def mean_average_precision():
    truths, found = inputs["truths"], inputs["detections"]
    validator, hits, scores, kinds = DetectionValidator(), [], [], []
    for image in range(200):
        t, d = truths[truths[:, 0] == image], found[found[:, 0] == image]
        d = d[d[:, 2].argsort(descending=True, stable=True)]
        hits.append(np.asarray(validator.match_predictions(d[:, 1], t[:, 1], box_iou(t[:, 2:], d[:, 3:])), dtype=bool).reshape(-1, 10))
        scores.append(d[:, 2].numpy())
        kinds.append(d[:, 1].numpy())
    ap = ap_per_class(np.concatenate(hits), np.concatenate(scores), np.concatenate(kinds), truths[:, 1].numpy())[5]
    return {"trapezoid": {"map50": float(ap[:, 0].mean()), "map50_95": float(ap.mean())}, "coco": coco(truths, found)}


def coco(truths, found):
    """The same by COCO's own tools, which take the mean of 101 recalls; up to 300 detections an image, as we judge."""

    def rows(table, box, **more):
        return [
            {"id": i + 1, "image_id": int(r[0]), "category_id": int(r[1]), "iscrowd": 0, "area": float((r[box + 2] - r[box]) * (r[box + 3] - r[box + 1])),
             "bbox": [float(r[box]), float(r[box + 1]), float(r[box + 2] - r[box]), float(r[box + 3] - r[box + 1])],
             **{key: float(r[at]) for key, at in more.items()}}
            for i, r in enumerate(table.tolist())
        ]

    truth, result = COCO(), COCO()
    head = {"images": [{"id": i} for i in range(200)], "categories": [{"id": c} for c in range(classes)]}
    truth.dataset, result.dataset = {**head, "annotations": rows(truths, 2)}, {**head, "annotations": rows(found, 3, score=2)}
    truth.createIndex(), result.createIndex()
    judge = COCOeval(truth, result, "bbox")
    judge.params.maxDets = [300]
    judge.evaluate(), judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 0]  # threshold, recall, class, all areas, maxDets
    return {"map50": float(precision[0].mean()), "map50_95": float(precision.mean())}


figures = {
    "command": "scripts/parity",
    "versions": {name: version(name) for name in ("ultralytics", "pycocotools", "torch")},
    "scales": {s: {"raw": {m: raw(s, m) for m in ("eval", "train")}, "losses": losses(s)} for s in ("n", "s")},
    "map": mean_average_precision(),
}
out.write_text(json.dumps(figures, indent=1) + "\n")
print(json.dumps({"losses": {s: figures["scales"][s]["losses"] for s in ("n", "s")}, "map": figures["map"]}, indent=1))
