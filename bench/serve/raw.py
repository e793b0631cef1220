"""What onnxruntime does with nothing around it: a bare loop on one session with all cores, and on one session a core. Prints JSON.

python raw.py MODEL.onnx SIZE CORES SECONDS IMAGE...
"""
import json
import statistics
import sys
import threading
import time

import cv2
import numpy as np
import onnxruntime
from peers.detector import session

model, size, cores, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])


def loop(one, until, times):
    tensor = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    while time.perf_counter() < until:
        began = time.perf_counter()
        one.run(None, {"images": tensor})
        times.append((time.perf_counter() - began) * 1e3)


def measure(count, threads):
    sessions = [session(model, size, threads) for _ in range(count)]
    for one in sessions:
        loop(one, time.perf_counter() + 0.5, [])
    times, began = [], time.perf_counter()
    loops = [threading.Thread(target=loop, args=(one, began + seconds, times)) for one in sessions]
    for one in loops:
        one.start()
    for one in loops:
        one.join()
    rate = len(times) / (time.perf_counter() - began)
    return {"images_per_s": round(rate, 2), "p50_ms": round(statistics.median(times), 2), "config": f"{count} x {threads}"}


decode = {}
for path in sys.argv[5:]:
    body = np.fromfile(path, np.uint8)
    times = []
    for _ in range(60):
        began = time.perf_counter()
        cv2.imdecode(body, cv2.IMREAD_COLOR)
        times.append((time.perf_counter() - began) * 1e3)
    decode[path] = round(statistics.median(times), 2)
found = [measure(1, cores), measure(cores, 1)]
print(json.dumps({"best": max(found, key=lambda row: row["images_per_s"]), "all": found, "decode_ms": decode, "onnxruntime": onnxruntime.__version__}))
