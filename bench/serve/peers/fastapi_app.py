"""FastAPI and onnxruntime under uvicorn: one process a core with one thread each. Settings by environment: MODEL, SIZE, THREADS."""
import os

from detector import Detector
from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

app = FastAPI()
detector = Detector(os.environ["MODEL"], int(os.environ["SIZE"]), int(os.environ["THREADS"]))


@app.post("/infer")
async def infer(request: Request):
    found = await run_in_threadpool(detector.detect, await request.body())
    if found is None:
        raise HTTPException(422, "not an image")
    return found
