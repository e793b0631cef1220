"""What FastAPI and LitServe serve in our comparison: YOLO in onnxruntime, decode and letterbox by OpenCV, NMS by OpenCV."""
import cv2
import numpy as np
import onnxruntime

cv2.setNumThreads(1)


def session(model, size, threads):
    """A session of the model at a fixed square size."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    for name in ("height", "width"):
        options.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Detector:
    def __init__(self, model, size, threads):
        self.session = session(model, size, threads)
        self.size = size

    def detect(self, body):
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return None
        height, width = image.shape[:2]
        scale = min(self.size / height, self.size / width)
        new = (round(width * scale), round(height * scale))
        left, top = (self.size - new[0]) // 2, (self.size - new[1]) // 2
        canvas = np.full((self.size, self.size, 3), 114, np.uint8)
        canvas[top : top + new[1], left : left + new[0]] = cv2.resize(image, new)
        tensor = cv2.dnn.blobFromImage(canvas, 1 / 255.0, swapRB=True)
        (output,) = self.session.run(None, {"images": tensor})
        rows = output[0].T
        classes, scores = rows[:, 4:].argmax(1), rows[:, 4:].max(1)
        chosen = scores >= 0.25
        rows, classes, scores = rows[chosen], classes[chosen], scores[chosen]
        corner = rows[:, :2] - rows[:, 2:4] / 2
        kept = cv2.dnn.NMSBoxesBatched(np.hstack([corner, rows[:, 2:4]]).tolist(), scores.tolist(), classes.tolist(), 0.25, 0.7) if len(rows) else []
        found = []
        for i in list(kept)[:300]:
            x, y = (corner[i] - (left, top)) / scale
            w, h = rows[i, 2:4] / scale
            found.append({"class": int(classes[i]), "confidence": float(scores[i]), "box": [float(x), float(y), float(x + w), float(y + h)]})
        return {"detections": found}
