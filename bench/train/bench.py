"""edgeloop-trainer beside ultralytics: the same images, network, size, batch, threads, mosaic, optimiser. Called by `make bench-train`.

python bench.py TRAINER DATA_YAML OUT.json [--rounds 3] [--batches 8 16] [--imgsz 320] [--threads N]

Rounds are interleaved (ours, theirs, ours, …) and medians are reported, so that a machine that is busy for a minute slows both.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

p = argparse.ArgumentParser()
p.add_argument("trainer")
p.add_argument("data")
p.add_argument("out")
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--epochs", type=int, default=2)
p.add_argument("--batches", type=int, nargs="+", default=[8, 16])
p.add_argument("--imgsz", type=int, default=320)
p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
a = p.parse_args()
here, folder = Path(__file__).parent, Path(a.data).parent


def ours(batch, precision):
    with tempfile.TemporaryDirectory() as models:
        env = {
            **os.environ, "IMAGES_DIR": str(folder), "MODEL_DIR": models, "EPOCHS": str(a.epochs), "BATCH_SIZE": str(batch), "IMGSZ": str(a.imgsz),
            "THREADS": str(a.threads), "PRECISION": precision, "OPTIMIZER": "sgd", "NOMINAL_BATCH": "64", "MOSAIC": "1", "CLOSE_MOSAIC": "0",
            "SCALE": "n", "START_FROM": "scratch", "GATE_MIN_MAP50": "0",
        }
        started, first, rate = time.monotonic(), None, None
        child = subprocess.Popen([a.trainer], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "first_batch":
                first = time.monotonic() - started
            if event["event"] == "epoch":
                rate = event["images_per_s"]
        _, status, usage = os.wait4(child.pid, 0)
        if status != 0 or rate is None or first is None:
            sys.exit(f"the trainer ended with {status}")
        return {"images_per_s": rate, "peak_rss_mb": usage.ru_maxrss / 1024, "first_step_s": first}


def theirs(batch):
    command = [sys.executable, here / "peer.py", a.data, "--epochs", a.epochs, "--batch", batch, "--imgsz", a.imgsz, "--threads", a.threads]
    out = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    result = [line for line in out.stdout.splitlines() if line.startswith("RESULT ")]
    if not result:
        sys.exit(out.stdout[-3000:])
    return json.loads(result[-1].removeprefix("RESULT "))


def median(runs):
    return {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}


bf16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
rows = []
for batch in a.batches:
    runs = {"bf16": [], "fp32": [], "theirs": []}
    for _ in range(a.rounds):
        if bf16:
            runs["bf16"].append(ours(batch, "bf16"))
        runs["theirs"].append(theirs(batch))
        runs["fp32"].append(ours(batch, "f32"))
    for precision in ["bf16"] * bf16 + ["fp32"]:
        row = {"imgsz": a.imgsz, "batch": batch, "threads": a.threads, "precision": precision, "ours": median(runs[precision]), "ultralytics": median(runs["theirs"])}
        rows.append(row)
        mine, peer = row["ours"], row["ultralytics"]
        print(
            f"batch {batch} {precision}: {mine['images_per_s']:.1f} against {peer['images_per_s']:.1f} images/s ({mine['images_per_s'] / peer['images_per_s']:.2f} x),"
            f" peak RSS {mine['peak_rss_mb']:.0f} against {peer['peak_rss_mb']:.0f} MiB ({mine['peak_rss_mb'] / peer['peak_rss_mb']:.2f} x),"
            f" first step after {mine['first_step_s']:.1f} against {peer['first_step_s']:.1f} s",
            flush=True,
        )
out = Path(a.out)
out.parent.mkdir(parents=True, exist_ok=True)
old = json.loads(out.read_text()) if out.exists() else {}
cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
versions = {name: version(name) for name in ("ultralytics", "torch")}
out.write_text(json.dumps({**old, "rows": rows, "machine": {"cpu": cpu, "cores": len(os.sched_getaffinity(0))}, "versions": versions}, indent=1) + "\n")
