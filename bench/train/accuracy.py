"""As good a model? edgeloop-trainer and ultralytics from the same initial weights on the same images, each with its own defaults for a
short run, judged by one evaluator (`edgeloop-trainer eval`, COCO's convention). Called by `make bench-accuracy`.

python accuracy.py TRAINER DATA_YAML OUT.json [--seeds 0 1 2] [--sides ours ours_bf16 ultralytics] [--epochs 30] [--imgsz 256] [--batch 16]

Figures of earlier calls stay in OUT.json, so that the seeds can be run one at a time.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

p = argparse.ArgumentParser()
p.add_argument("trainer")
p.add_argument("data")
p.add_argument("out")
p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
p.add_argument("--sides", nargs="+", default=["ours", "ours_bf16", "ultralytics"])
p.add_argument("--epochs", type=int, default=30)
p.add_argument("--imgsz", type=int, default=256)
p.add_argument("--batch", type=int, default=16)
p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
a = p.parse_args()
here, folder = Path(__file__).parent, Path(a.data).parent
names = [line.split(":")[1].strip() for line in Path(a.data).read_text().split("names:")[1].splitlines() if line.startswith("  ")]
classes = len(names)


def initial(seed, path):
    """Random weights as the peer makes them: both sides start there."""
    script = (
        "import sys, torch; from ultralytics.nn.tasks import DetectionModel; torch.manual_seed(int(sys.argv[1]));"
        "torch.save(DetectionModel('yolov8n.yaml', nc=int(sys.argv[2]), verbose=False).state_dict(), sys.argv[3])"
    )
    subprocess.run([sys.executable, "-c", script, str(seed), str(classes), path], check=True, stdout=subprocess.DEVNULL)


def evaluate(weights):
    env = {**os.environ, "IMAGES_DIR": str(folder), "PRECISION": "f32", "BATCH_SIZE": "8", "THREADS": str(a.threads)}
    command = [a.trainer, "eval", "--model", str(weights), "--size", str(a.imgsz), "--json"]
    report = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    return find(report, "map50_95", "mAP50-95")


def find(report, *names):
    for value in [report, *[v for v in report.values() if isinstance(v, dict)]]:
        for name in names:
            if name in value:
                return value[name]
    sys.exit(f"no {names[0]} in {list(report)}")


def ours(start, seed, precision, work):
    models = work / "models"
    env = {
        **os.environ, "IMAGES_DIR": str(folder), "MODEL_DIR": str(models), "EPOCHS": str(a.epochs), "BATCH_SIZE": str(a.batch), "IMGSZ": str(a.imgsz),
        "THREADS": str(a.threads), "PRECISION": precision, "SEED": str(seed), "INIT_WEIGHTS": str(start), "INIT_CLASSES": ",".join(names), "GATE_MIN_MAP50": "0", "SCALE": "n",
        # The default of a run from scratch; given weights it would take a quarter of it, as for a model that knows something.
        "LR0": str(0.028 / (4 + classes) * min(a.batch / 16, 1) ** 0.5),
    }
    subprocess.run([a.trainer], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return models / "latest.pt"


def theirs(start, seed, work):
    out = work / "best.pt"
    command = [sys.executable, here / "peer.py", a.data, "--epochs", a.epochs, "--batch", a.batch, "--imgsz", a.imgsz, "--threads", a.threads,
               "--seed", seed, "--weights", start, "--optimizer", "auto", "--close-mosaic", "10", "--val", "--save", out]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not out.exists():
        sys.exit(done.stdout[-3000:])
    return out


out = Path(a.out)
out.parent.mkdir(parents=True, exist_ok=True)
report = json.loads(out.read_text()) if out.exists() else {}
found = report.setdefault("accuracy", {})
for seed in a.seeds:
    for side in a.sides:
        with tempfile.TemporaryDirectory() as work:
            work, started = Path(work), time.monotonic()
            initial(seed, work / "start.pt")
            made = theirs(work / "start.pt", seed, work) if side == "ultralytics" else ours(work / "start.pt", seed, "bf16" if side == "ours_bf16" else "f32", work)
            figure = evaluate(made)
            found.setdefault(side, []).append(figure)
            print(f"seed {seed} {side}: mAP50-95 {figure:.4f} in {time.monotonic() - started:.0f} s", flush=True)
            out.write_text(json.dumps(report, indent=1) + "\n")
