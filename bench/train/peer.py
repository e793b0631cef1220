"""One training by ultralytics, through its public API, as its users run it: prints a JSON line with what it took.

python peer.py DATA_YAML --epochs 2 --batch 8 --imgsz 320 --threads 2 [--weights start.pt] [--val] [--save OUT.pt]
"""
import argparse
import json
import os
import resource
import sys
import tempfile
import time

started = time.monotonic()
p = argparse.ArgumentParser()
p.add_argument("data")
p.add_argument("--epochs", type=int, default=2)
p.add_argument("--batch", type=int, default=8)
p.add_argument("--imgsz", type=int, default=320)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--workers", type=int, default=0)
p.add_argument("--seed", type=int, default=0)
p.add_argument("--weights")
p.add_argument("--optimizer", default="SGD")
p.add_argument("--close-mosaic", type=int, default=0)
p.add_argument("--val", action="store_true")
p.add_argument("--save")
a = p.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads)
# It looks for updates, fonts and weights otherwise, and waits for answers.
os.environ["YOLO_OFFLINE"] = "true"

import torch  # noqa: E402
from ultralytics import YOLO  # noqa: E402

times = {"batches": 0}


def begin(_):
    times["epoch"] = time.monotonic()


def batch(trainer):
    times.setdefault("first", time.monotonic() - started)
    times["batches"] += 1


def end(trainer):
    times["images_per_s"] = len(trainer.train_loader.dataset) / (time.monotonic() - times["epoch"])


model = YOLO("yolov8n.yaml")
model.add_callback("on_train_epoch_start", begin)
model.add_callback("on_train_batch_end", batch)
model.add_callback("on_train_epoch_end", end)
# Set after the import, and again by the trainer's own set-up: the callback comes last.
model.add_callback("on_train_start", lambda _: torch.set_num_threads(a.threads))
if a.weights:
    # The same start for both sides: a plain state dict, loaded into the network that the trainer makes.
    state = torch.load(a.weights, weights_only=True)

    def load(trainer):
        trainer.model.load_state_dict(state, strict=True)
        if getattr(trainer, "ema", None):
            trainer.ema.ema.load_state_dict(state, strict=True)

    model.add_callback("on_train_start", load)
with tempfile.TemporaryDirectory() as project:
    model.train(
        data=a.data, epochs=a.epochs, batch=a.batch, imgsz=a.imgsz, device="cpu", workers=a.workers, seed=a.seed, optimizer=a.optimizer,
        close_mosaic=a.close_mosaic, val=a.val, plots=False, save=bool(a.save), project=project, name="run", exist_ok=True, verbose=False,
    )
    if a.save:
        best = torch.load(f"{project}/run/weights/best.pt", weights_only=False)
        chosen = best["ema"] or best["model"]
        torch.save({k: v.float() if v.is_floating_point() else v for k, v in chosen.state_dict().items()}, a.save)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
sys.stdout.flush()
print("RESULT " + json.dumps({"images_per_s": times["images_per_s"], "peak_rss_mb": peak, "first_step_s": times["first"]}))
