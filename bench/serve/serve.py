"""edgeloop-inferer beside the servers that people write: the same model, JPEGs, square input and cores. Called by `make bench-serve`.

python serve.py BIN_DIR STORES IMAGES OUT.json [--rounds 2] [--seconds 8] [--sizes 640 320] [--sides raw ours_fp32 ours_auto …]

STORES holds a model store for each size (STORES/640, …), IMAGES drawn pictures. Throughput is a closed loop of 1, 4, 16 clients;
latencies an open loop of as many connections at 0.8 of that. Rounds are interleaved over all sides and medians are reported.
"""
import argparse
import base64
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

p = argparse.ArgumentParser()
p.add_argument("bin")
p.add_argument("stores")
p.add_argument("images")
p.add_argument("out")
p.add_argument("--rounds", type=int, default=2)
p.add_argument("--seconds", type=float, default=8)
p.add_argument("--sizes", type=int, nargs="+", default=[640, 320])
p.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
# LitServe takes JSON or forms only.
BASE64 = {"litserve"}
SIDES = ["ours_fp32", "ours_auto", "flask_ultralytics", "litserve", "fastapi"]
p.add_argument("--sides", nargs="+", default=SIDES)
a = p.parse_args()
here, binaries, cores = Path(__file__).parent, Path(a.bin), len(os.sched_getaffinity(0))
PORT, ADMIN = 18090, 18091
work = Path(tempfile.mkdtemp(prefix="bench-serve-"))


def photos(width, height):
    """Eight camera-like JPEGs: drawn pictures side by side, noise over them, quality 85."""
    drawn = [cv2.imread(str(f)) for f in sorted(Path(a.images).rglob("*.jpg"))[:24]]
    rng, made = np.random.default_rng(1), []
    for n in range(8):
        some = [cv2.resize(drawn[(n * 3 + i) % len(drawn)], (width // 2, height // 2)) for i in range(4)]
        picture = np.vstack([np.hstack(some[:2]), np.hstack(some[2:])])
        picture = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
        path = work / f"{width}x{height}-{n}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        made.append(str(path))
    return made


def ultralytics_weights(store, size):
    """The promoted weights as ultralytics takes them."""
    path = work / f"{size}.pt"
    script = (
        "import json, sys, torch; from ultralytics.nn.tasks import DetectionModel\n"
        "names = json.load(open(sys.argv[1] + '/latest_metadata.json')); names = names.get('classes') or names['metadata']['classes']\n"
        "model = DetectionModel('yolov8n.yaml', nc=len(names), verbose=False)\n"
        "model.load_state_dict(torch.load(sys.argv[1] + '/latest.pt', weights_only=True)); model.names = dict(enumerate(names))\n"
        "torch.save({'model': model, 'train_args': {'task': 'detect'}}, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, str(store), str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def start(side, size):
    store = Path(a.stores) / str(size)
    env = {**os.environ, "MODEL": str(store / "latest.onnx"), "SIZE": str(size), "THREADS": "1", "PYTHONPATH": str(here / "peers")}
    python = Path(sys.executable).parent
    if side.startswith("ours"):
        env = {k: v for k, v in env.items() if k not in ("THREADS", "PRECISION", "DEVICE")}
        env |= {"MODEL_DIR": str(store), "INFERENCE_FOLDER": "false", "SERVE_ADDR": f"127.0.0.1:{PORT}", "ADMIN_ADDR": f"127.0.0.1:{ADMIN}", "DRAIN_DELAY": "0", "QUEUE": "64"}
        env |= {"CACHE_DIR": str(work / "cache")}
        if side == "ours_fp32":
            env |= {"DEVICE": "cpu", "PRECISION": "fp32", "SHAPES": "square"}
        command = [binaries / "edgeloop-inferer"]
    elif side == "flask_ultralytics":
        env["WEIGHTS"] = str(ultralytics_weights(store, size))
        command = [python / "gunicorn", "-b", f"127.0.0.1:{PORT}", "-w", cores, "--keep-alive", 30, "-k", "gthread", "--threads", 16 // cores, "--log-level", "error", "flask_app:app"]
    elif side == "litserve":
        command = [sys.executable, here / "peers" / "litserve_app.py", PORT, cores]
    else:
        command = [python / "uvicorn", "--host", "127.0.0.1", "--port", PORT, "--workers", cores, "--log-level", "error", "fastapi_app:app"]
    return subprocess.Popen([str(c) for c in command], env=env, stdout=subprocess.DEVNULL, stderr=open(work / f"{side}.log", "w"), start_new_session=True)


def answer(side, body):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    if side in BASE64:
        body, kind = json.dumps({"image": base64.b64encode(body).decode()}), "application/json"
    else:
        kind = "image/jpeg"
    connection.request("POST", "/infer", body, {"Content-Type": kind})
    response = connection.getresponse()
    return response.status, response.read()


@contextlib.contextmanager
def serving(side, size, photo):
    child = start(side, size)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if answer(side, photo)[0] == 200:
                    break
            except OSError:
                pass
            if time.monotonic() > deadline or child.poll() is not None:
                sys.exit(f"{side} does not answer: {(work / f'{side}.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield child
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def load(side, clients, images, seconds, rate=None):
    command = [binaries / "load", "--address", f"127.0.0.1:{PORT}", "--clients", clients, "--seconds", seconds, *(["--rate", rate] if rate else []), *(["--json"] if side in BASE64 else []), *images]
    return json.loads(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout)


def warm(side, images):
    """Until nothing changes any more: engines of other kinds and shapes are made while the first one serves."""
    seen, deadline = [], time.monotonic() + 60
    while True:
        load(side, 4, images, 3)
        if side != "ours_auto":
            return
        seen.append(engine())
        if len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]:
            return
        if time.monotonic() > deadline:
            sys.exit(f"{side} still changes its engines: {seen[-1]}")


def engine():
    """Which engines of ours serve now; each one that is made takes memory."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request("GET", "/v1/model")
    found = json.loads(connection.getresponse().read())["engine"]
    return {key: found[key] for key in ("device", "precision", "instances", "threads", "solo", "shapes", "memory_mb")}


def measure(side, size, images):
    rows = []
    with serving(side, size, Path(images[0]).read_bytes()):
        warm(side, images)
        for clients in a.clients:
            closed = load(side, clients, images, a.seconds)
            opened = load(side, clients, images, a.seconds, max(closed["images_per_s"] * 0.8, 1))
            failed = closed["failed"] + opened["failed"]
            rows.append({"clients": clients, "images_per_s": closed["images_per_s"], "p50_ms": opened["p50_ms"], "p99_ms": opened["p99_ms"], "failed": failed})
    return rows


def raw(size, images):
    command = [sys.executable, here / "raw.py", Path(a.stores) / str(size) / "latest.onnx", size, cores, a.seconds, images[0]]
    return json.loads(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout)


def median(runs):
    if all(run == runs[0] for run in runs):
        return runs[0]
    if isinstance(runs[0], list):
        return [median(list(rows)) for rows in zip(*runs)]
    if isinstance(runs[0], dict):
        return {key: median([run[key] for run in runs]) for key in runs[0]}
    return round(statistics.median(runs), 2) if isinstance(runs[0], (int, float)) else runs[0]


rows = []
for size in a.sizes:
    for width, height in ((1280, 720), (1920, 1080)):
        images, found, raws = photos(width, height), {side: [] for side in a.sides}, []
        for _ in range(a.rounds):
            raws.append(raw(size, images))
            for side in a.sides:
                found[side].append(measure(side, size, images))
        best = median([r["best"] for r in raws])
        row = {"imgsz": size, "image": f"{width}x{height}", "raw_fp32": best, "decode_ms": median([list(r["decode_ms"].values())[0] for r in raws]), "raw_all": raws[-1]["all"]}
        row |= {side: median(runs) for side, runs in found.items()}
        rows.append(row)
        print(f"{size} px, {width}x{height}: raw {best['images_per_s']} images/s, {best['p50_ms']} ms ({best['config']}), decode {row['decode_ms']} ms", flush=True)
        for side in a.sides:
            cells = [f"{r['clients']}: {r['images_per_s']:.1f}/s ({r['images_per_s'] / best['images_per_s']:.2f} x raw), p50 {r['p50_ms']:.1f}, p99 {r['p99_ms']:.1f} ms" for r in row[side]]
            print(f"  {side:18} " + " | ".join(cells), flush=True)
flags = Path("/proc/cpuinfo").read_text()
cpu = next((line.split(":")[1].strip() for line in flags.splitlines() if line.startswith("model name")), "?")
versions = {name: version(name) for name in ("ultralytics", "torch", "onnxruntime", "flask", "gunicorn", "fastapi", "uvicorn", "litserve", "opencv-python-headless")}
out = Path(a.out)
out.parent.mkdir(parents=True, exist_ok=True)
report = {"rows": rows, "cpu_has_bf16": "avx512_bf16" in flags or "amx_bf16" in flags, "machine": {"cpu": cpu, "cores": cores}, "versions": versions}
out.write_text(json.dumps(report, indent=1) + "\n")
