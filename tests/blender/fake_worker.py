"""A stand-in for the worker process without models: quick, and as badly behaved as FAKE_MODE says.

Tests copy it, with a first line that makes it executable, to where a runtime's Python would be. Steps of the "views"
stage take FAKE_STEP seconds. FAKE_HEAD, FAKE_PICTURE, FAKE_CUTOUT, FAKE_RIG and FAKE_TRACK are what it makes. The job
"weights" writes FAKE_LINES lines of a log and goes on for FAKE_WEIGHTS seconds.
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

mode = os.environ.get("FAKE_MODE", "good")
pause = float(os.environ.get("FAKE_STEP", "0.05"))
cancelled = set()
runs = []
waiting = threading.Condition()


def say(**event):
    print(json.dumps(event), flush=True)


def listen():
    for line in sys.stdin:
        message = json.loads(line)
        with waiting:
            if message["do"] == "cancel":
                cancelled.add(message["job"])
            elif message["do"] == "reconstruct":
                runs.append(message)
            elif message["do"] == "weights":
                threading.Thread(target=weights, args=(message["job"],), daemon=True).start()
            elif message["do"] in ("rig", "track"):
                threading.Thread(target=make, args=(message["do"], message["job"], message["request"])).start()
            elif message["do"] == "cutout":
                arguments = message["job"], message["request"]
                threading.Thread(target=cut_out, args=arguments, daemon=True).start()
            waiting.notify()
    if mode != "deaf":
        os._exit(0)


def cut_out(job, request):
    """As slow as FAKE_CUT says; of a photo whose name has “nobody” in it there is none."""
    time.sleep(float(os.environ.get("FAKE_CUT", "0")))
    if "nobody" in request["photo"]:
        say(event="failed", job=job, message="No face was found.")
        return
    Path(request["file"]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(os.environ["FAKE_CUTOUT"], request["file"])
    shutil.copyfile(os.environ["FAKE_PICTURE"], request["preview"])
    if job in cancelled:
        say(event="cancelled", job=job)
        return
    notes = ["2 faces were found; the largest is used."]
    say(event="cutout", job=job, cutout=request["file"], preview=request["preview"], notes=notes)
    say(event="done", job=job, result={})


def make(kind, job, request):
    """A rig or a take: FAKE_RIG, FAKE_TRACK."""
    say(event="progress", job=job, stage=kind, fraction=0.5, message="half")
    if kind == "track" and "nobody" in request["video"]:
        say(event="failed", job=job, message="There is no face in the video.")
        return
    shutil.copyfile(os.environ[f"FAKE_{kind.upper()}"], request["file" if kind == "rig" else "output"])
    say(event="done", job=job, result={})


def weights(job):
    for number in range(int(os.environ["FAKE_LINES"])):
        say(event="log", job=job, line=f"line {number}")
    say(event="progress", job=job, stage="download", fraction=0.5, message="half", left=3.0)
    end = time.monotonic() + float(os.environ["FAKE_WEIGHTS"])
    while time.monotonic() < end:
        if job in cancelled:
            say(event="cancelled", job=job)
            return
        time.sleep(0.02)
    say(event="done", job=job, result={"message": "They are ready."})


def work(job, request):
    stages = [("load", 0.0), ("align", 0.0), *(("views", 0.05 + 0.08 * n) for n in range(10)), ("gaussians", 0.9)]
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    if not Path(request["photo"]).is_file():
        say(event="failed", job=job, message="The photo is not there any more.")
        return
    shutil.copyfile(os.environ["FAKE_CUTOUT"], folder / "cutout.png")
    shutil.copyfile(os.environ["FAKE_PICTURE"], folder / "cutout_preview.png")
    cutout, preview = str(folder / "cutout.png"), str(folder / "cutout_preview.png")
    say(event="cutout", job=job, cutout=cutout, preview=preview, notes=["As the job saw it."])
    for stage, fraction in stages:
        if mode == f"dies in {stage}":
            os._exit(3)
        if mode == "chatters":
            print("UserWarning: some library has something to say", flush=True)
            print('{"event": 7}\n[]\n{"half": ', flush=True)
        if job in cancelled and mode != "deaf":
            say(event="cancelled", job=job)
            return
        say(event="progress", job=job, stage=stage, fraction=fraction, message=f"{stage} {fraction:.2f}")
        time.sleep(pause)
        while mode == f"stays in {stage}" or mode == "deaf":
            if job in cancelled and mode != "deaf":
                break
            time.sleep(0.02)
    shutil.copyfile(os.environ["FAKE_PICTURE"], folder / "views.png")
    say(event="views", job=job, views=str(folder / "views.png"))
    shutil.copyfile(os.environ["FAKE_PICTURE"], folder / "portrait.png")
    summary = {
        "photo": request["photo"],
        "request": request,
        "version": "fake",
        "device": "none",
        "gaussians": 3,
        "timings": {"load": 0.1, "views": 0.2},
        "seconds": 0.3,
        "notes": [],
    }
    if mode != "lies":
        shutil.copyfile(os.environ["FAKE_HEAD"], folder / "head.ply")
        (folder / "result.json").write_text(json.dumps(summary), encoding="utf-8")
    say(event="done", job=job, result=summary)


if "facelift_core.jobs.worker" not in sys.argv:  # a check of the runtime
    packages = {"torch": "2.9.0", "diffusers": "0.40.0", "transformers": "5.0.0", "safetensors": "0.8.0"}
    packages |= {"huggingface_hub": "2.4.0", "einops": "0.8.2", "numpy": "2.4.0", "scipy": "1.16.0", "Pillow": "12.0.0"}
    print(json.dumps({"python": [3, 12, 0], "packages": packages | {"opencv-python-headless": "5.0.0.93"}}))
    sys.exit()
threading.Thread(target=listen, daemon=True).start()
if mode == "garbage":
    while True:
        print("x" * 1000, flush=True)
if mode != "silent":
    say(event="ready", protocol=2, pid=os.getpid())
while True:
    with waiting:
        while not runs:
            waiting.wait()
        message = runs.pop(0)
    work(message["job"], message["request"])
