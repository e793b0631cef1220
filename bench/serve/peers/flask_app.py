"""Flask and ultralytics under gunicorn: one process a core with one thread each. Settings by environment: WEIGHTS, SIZE, THREADS."""
import os

os.environ["OMP_NUM_THREADS"] = os.environ["THREADS"]
# It looks for updates, fonts and weights otherwise, and waits for answers.
os.environ["YOLO_OFFLINE"] = "true"

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from flask import Flask, abort, jsonify, request  # noqa: E402
from ultralytics import YOLO  # noqa: E402

torch.set_num_threads(int(os.environ["THREADS"]))
cv2.setNumThreads(1)
app = Flask(__name__)
model = YOLO(os.environ["WEIGHTS"])
size = int(os.environ["SIZE"])


@app.post("/infer")
def infer():
    image = cv2.imdecode(np.frombuffer(request.get_data(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        abort(422)
    # rect=False: the square input, as everybody else here computes it.
    boxes = model.predict(image, imgsz=size, conf=0.25, iou=0.7, rect=False, verbose=False)[0].boxes
    rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True)
    return jsonify({"detections": [{"class": int(c), "confidence": s, "box": b} for c, s, b in rows]})
