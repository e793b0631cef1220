"""LitServe and onnxruntime: python litserve_app.py PORT WORKERS. Settings by environment: MODEL, SIZE, THREADS."""
import os
import sys

import litserve
from detector import Detector
from fastapi import Request


class Detect(litserve.LitAPI):
    def setup(self, device):
        self.detector = Detector(os.environ["MODEL"], int(os.environ["SIZE"]), int(os.environ["THREADS"]))

    async def decode_request(self, request: Request):
        return await request.body()

    def predict(self, body):
        return self.detector.detect(body)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Detect(api_path="/infer", enable_async=False), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
