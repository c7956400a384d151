"""Drives headless Chromium through its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("FACELIFT_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
"""Path of the browser; None if there is none."""

FLAGS = [
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--hide-scrollbars", "--force-device-scale-factor=1",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run",
]  # fmt: skip


class Page:
    """A page in a window of `size` × `size` pixels."""

    def __init__(self, read_end: int, write_end: int, size: int) -> None:
        self._in, self._out, self._last = os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb"), 0
        self._session = None
        self.log: list[str] = []
        target = self.call("Target.createTarget", url="about:blank", width=size, height=size)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=size, height=size, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters) -> dict:
        """Send a command of the DevTools protocol; return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = json.loads(self._receive())
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if answer.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                self.log.append(json.dumps(answer["params"])[:500])

    def _receive(self) -> bytes:
        message = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return bytes(message)

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.resolve().as_uri())

    def value(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str, seconds: float):
        """Wait until `expression` is true; return its value."""
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"“{expression}” did not come true; the console says: {self.log}"
            time.sleep(0.2)
        return value

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def page(size: int, folder: Path) -> Iterator[Page]:
    """Context manager that yields a page of a new browser, whose profile lies in `folder`."""
    from_us, to_us = os.pipe(), os.pipe()

    def connect() -> None:  # the browser reads commands from 3 and writes answers to 4
        ends = os.dup(from_us[0]), os.dup(to_us[1])
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    command = [BROWSER, *FLAGS, f"--user-data-dir={folder}", f"--window-size={size},{size}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    browser = subprocess.Popen(command, preexec_fn=connect, close_fds=False, **quiet)
    os.close(from_us[0])
    os.close(to_us[1])
    try:
        yield Page(to_us[0], from_us[1], size)
    finally:
        browser.kill()
        browser.wait()
