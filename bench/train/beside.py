"""One training beside a saturated inferer: what each keeps of its speed alone. Called by `make bench-beside`.

python beside.py BIN_DIR DATA_DIR MODELS OUT.json [--seconds 20] [--rounds 3]

MODELS holds a promoted model for the inferer. The trainer runs as `edgeloop up` starts it: niced by 4, SHARE_CORES, one core fewer.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

p = argparse.ArgumentParser()
p.add_argument("bin")
p.add_argument("data")
p.add_argument("models")
p.add_argument("out")
p.add_argument("--seconds", type=float, default=20)
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--imgsz", type=int, default=320)
a = p.parse_args()
binaries = Path(a.bin)
images = sorted(str(f) for f in Path(a.data).rglob("*.jpg"))[:16]


def load():
    out = subprocess.run([binaries / "load", "--address", "127.0.0.1:18080", "--clients", "4", "--seconds", str(a.seconds), *images], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["images_per_s"]


class Trainer:
    """Epochs of a few batches, so that some end within each window; their own seconds are counted, without judging."""

    def __enter__(self):
        self.models = tempfile.TemporaryDirectory()
        env = {**os.environ, "IMAGES_DIR": a.data, "MODEL_DIR": self.models.name, "EPOCHS": "1000", "BATCH_SIZE": "8", "IMGSZ": str(a.imgsz), "SHARE_CORES": "true"}
        self.child = subprocess.Popen(["nice", "-n", "4", str(binaries / "edgeloop-trainer")], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.epochs, self.ready = [], threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        if not self.ready.wait(60):
            sys.exit("the trainer does not train")
        return self

    def listen(self):
        for line in self.child.stdout:
            event = json.loads(line)
            if event["event"] == "first_batch":
                self.ready.set()
            if event["event"] == "epoch":
                self.epochs.append((time.monotonic(), event["images_per_s"]))

    def pace(self, since):
        found = [rate for at, rate in list(self.epochs) if at - since > 1.5]
        return statistics.median(found) if found else sys.exit("no epoch ended in the window: make it longer")

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.models.cleanup()


serving = subprocess.Popen(
    [str(binaries / "edgeloop-inferer")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    env={**os.environ, "MODEL_DIR": a.models, "IMAGES_DIR": tempfile.mkdtemp(), "SERVE_ADDR": "127.0.0.1:18080", "ADMIN_ADDR": "127.0.0.1:18081"},
)
try:
    deadline = time.monotonic() + 30
    while subprocess.run(["sh", "-c", "exec 3<>/dev/tcp/127.0.0.1/18080"], executable="/bin/bash", stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > deadline:
            sys.exit("the inferer does not listen")
        time.sleep(0.1)
    time.sleep(2)
    rows = []
    for _ in range(a.rounds):
        alone = load()
        with Trainer() as trainer:
            at = time.monotonic()
            time.sleep(a.seconds)
            pace_alone, at = trainer.pace(at), time.monotonic()
            beside = load()
            pace_beside = trainer.pace(at)
        rows.append({"inferer_alone": alone, "inferer_beside": beside, "trainer_slowdown": pace_alone / pace_beside})
        print(rows[-1], flush=True)
finally:
    serving.send_signal(signal.SIGTERM)
    serving.wait()
median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
result = {**median, "inferer_share": median["inferer_beside"] / median["inferer_alone"], "rounds": rows}
Path(a.out).parent.mkdir(parents=True, exist_ok=True)
Path(a.out).write_text(json.dumps(result, indent=1) + "\n")
print(f"the inferer keeps {result['inferer_share']:.0%} of its throughput; a step of the trainer takes {result['trainer_slowdown']:.2f} x as long")
