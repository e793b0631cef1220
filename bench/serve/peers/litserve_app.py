"""LitServe and onnxruntime: python litserve_app.py PORT WORKERS. Settings by environment: MODEL, SIZE, THREADS.

LitServe takes JSON or forms only, so pictures come as base64.
"""
import base64
import os
import sys

import litserve
from detector import Detector


class Detect(litserve.LitAPI):
    def setup(self, device):
        self.detector = Detector(os.environ["MODEL"], int(os.environ["SIZE"]), int(os.environ["THREADS"]))

    def decode_request(self, request):
        return base64.b64decode(request["image"])

    def predict(self, body):
        return self.detector.detect(body)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Detect(api_path="/infer", enable_async=False), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
