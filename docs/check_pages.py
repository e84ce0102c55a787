"""Open every page of the site in headless Chromium.

    python docs/check_pages.py [SITE] [--pictures FOLDER] [--chromium PROGRAM]

A page fails if a script raises, a file is missing, a picture does not load, an equation
has no size, a heading is missing, or a request leaves the site.  Without Chromium the
script prints a note and succeeds without checking the pages.

One browser is started and controlled through a pipe (Chrome DevTools Protocol,
``--remote-debugging-pipe``), so that nothing but Chromium is needed.
"""

import argparse
import base64
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT = 60  # seconds for one page
FACTS = """JSON.stringify({
  title: document.title,
  headings: document.querySelectorAll("h1").length,
  words: document.querySelector("article").innerText.split(/\\s+/).length,
  pictures: [...document.images].filter(i => i.complete && !i.naturalWidth)
    .map(i => i.src.slice(0, 80)),
  equations: [...document.querySelectorAll("math")]
    .filter(m => m.closest("article") && !m.getBoundingClientRect().height).length,
  raw: document.querySelectorAll(".arithmatex").length,
})"""


class Browser:
    """One Chromium and the messages of its one tab."""

    def __init__(self, program: str, profile: str):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def connect():  # Chromium reads descriptor 3 and writes 4
            # first out of the way, so that neither end is overwritten
            ends = os.dup(to_browser), os.dup(from_browser)
            ends = tuple(os.dup2(end, 100 + i) for i, end in enumerate(ends))
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "--window-size=1280,1000",
            ],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._id, self.events = b"", 0, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    session: str | None = None

    def call(self, method: str, **params) -> dict:
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._id:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 2**20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> dict:
        """Open a page; what it holds, and the events until it had loaded."""
        self.events = []
        guard = threading.Timer(TIMEOUT, self.process.kill)
        guard.start()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")
        facts = self.call("Runtime.evaluate", expression=FACTS)["result"]["value"]
        guard.cancel()
        return json.loads(facts)

    def picture(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def faults_of(facts: dict, events: list[dict], origin: str) -> list[str]:
    """What is wrong with a page."""
    faults = [f"picture does not load: {src}" for src in facts["pictures"]]
    if facts["headings"] != 1:
        faults.append(f"{facts['headings']} headings of level 1")
    if facts["words"] < 20:
        faults.append(f"{facts['words']} words")
    if facts["equations"]:
        faults.append(f"{facts['equations']} equations without a size")
    if facts["raw"]:
        faults.append(f"{facts['raw']} equations left as LaTeX")
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            faults.append(f"script: {params['exceptionDetails']['text']}")
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith((origin, "data:", "blob:", "about:")):
                faults.append(f"asks for {url}")
        if method == "Network.responseReceived":
            response = params["response"]
            if response["status"] >= 400:
                faults.append(f"{response['status']}: {response['url']}")
    return faults


def serve(site: Path) -> http.server.ThreadingHTTPServer:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site", nargs="?", type=Path, default=Path("site"))
    parser.add_argument(
        "--pictures", type=Path, help="Folder for a picture of each page"
    )
    parser.add_argument("--chromium", help="Chromium's program; searched by default")
    options = parser.parse_args()
    pages = sorted(p for p in options.site.rglob("*.html") if p.name != "404.html")
    if not pages:
        print(f"no pages in {options.site}: run make docs", file=sys.stderr)
        return 1
    program = options.chromium or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print(f"not checked in a browser: none of {', '.join(PROGRAMS)} is installed")
        return 0
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    server, number = serve(options.site), 0
    origin = f"http://127.0.0.1:{server.server_port}/"
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(program, profile)
        try:
            for page in pages:
                name = page.relative_to(options.site).as_posix()
                facts = browser.open(origin + name)
                faults = faults_of(facts, browser.events, origin)
                number += bool(faults)
                print(
                    "\n    ".join([f"{'FAULT' if faults else 'ok':6}{name}", *faults])
                )
                if options.pictures:
                    path = options.pictures / (name.replace("/", "-") + ".png")
                    browser.picture(path)
        finally:
            browser.close()
            server.shutdown()
    print(f"{len(pages)} pages opened, {number} with faults")
    return 1 if number else 0


if __name__ == "__main__":
    sys.exit(main())
