"""Looks at reports with headless Chromium.

screenshot.py DIRECTORY FILE...: for each HTML file a picture in light and in dark, and one of a narrow window, into
DIRECTORY. Fails if anything overflows the page, if both schemes look alike, if the page asks for anything besides
itself or says anything on its console, or if the timeline is blank. Ends with 77 where there is no Chromium.
"""

import base64
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image

WIDE, NARROW = (1280, 900), (390, 800)

# What sticks out of the page. What may be scrolled may be wider inside; text of the drawing must not leave it.
OVERFLOW = """(() => {
  const width = document.documentElement.clientWidth, out = [];
  if (document.documentElement.scrollWidth > width) out.push(`the page is ${document.documentElement.scrollWidth} wide`);
  for (const it of document.body.querySelectorAll('*')) {
    if (it.closest('svg') || it.closest('.scroll')) continue;
    const box = it.getBoundingClientRect();
    if (box.width && (box.right > width + 1 || box.left < -1)) out.push(it.outerHTML.slice(0, 120));
  }
  const frame = document.querySelector('svg').getBoundingClientRect();
  for (const it of document.querySelectorAll('svg text, svg rect, svg path, svg circle')) {
    if (it.closest('defs')) continue;
    const box = it.getBoundingClientRect();
    if (box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1
        || box.top < frame.top - 1) out.push('in the drawing: ' + it.outerHTML.slice(0, 120));
  }
  return out;
})()"""

# Labels of the drawing that lie on each other.
COLLISIONS = """(() => {
  const boxes = [...document.querySelectorAll('svg text')].map(it => [it.textContent, it.getBoundingClientRect()]);
  const out = [];
  boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
      out.push(`${one} / ${other}`);
  }));
  return out;
})()"""

BOX = """(() => { const b = document.querySelector('svg').getBoundingClientRect();
  return [b.left + scrollX, b.top + scrollY, b.width, b.height]; })()"""


class Browser:
    """Chromium, spoken to over its pipe: the file descriptors 3 and 4 carry JSON that ends with a zero byte."""

    def __init__(self, program, home):
        to_browser, self.writer = os.pipe()
        self.reader, from_browser = os.pipe()

        def pipes():
            # Above 4 first, or one of the two would overwrite the other.
            into, out = os.dup(to_browser), os.dup(from_browser)
            os.dup2(into, 3)
            os.dup2(out, 4)

        self.process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
                f"--user-data-dir={home}", "--remote-debugging-pipe", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=pipes, close_fds=False, env={**os.environ, "HOME": home},
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.count, self.session, self.events = b"", 0, None, []

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.reader, 1 << 16)
            if not more:
                sys.exit("Chromium ended by itself")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def open(self, url, size, scheme):
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def picture(self):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def close(self):
        os.close(self.writer)
        os.close(self.reader)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def complaints(events, url):
    """What the page asked for besides itself, and what it said on the console."""
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent" and params["request"]["url"] != url:
            yield f"it asks for {params['request']['url']}"
        if method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            yield f"it says {json.dumps(params)[:300]}"


def look(browser, file, directory):
    """All that is wrong with one report."""
    url, wrong, pictures = file.resolve().as_uri(), [], {}
    for name, size, scheme in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("narrow", NARROW, "light")):
        browser.open(url, size, scheme)
        wrong += [f"{name}: overflow: {it}" for it in browser.evaluate(OVERFLOW)]
        if size == WIDE:
            wrong += [f"{name}: labels collide: {it}" for it in browser.evaluate(COLLISIONS)]
        pictures[name] = browser.picture()
        pictures[name].save(directory / f"{file.stem}-{name}.png")
        wrong += [f"{name}: {it}" for it in complaints(browser.events, url)]
        if size == WIDE:
            left, top, width, height = browser.evaluate(BOX)
            timeline = pictures[name].crop(tuple(map(round, (left, top, left + width, top + height))))
            counts = sorted((count for count, _ in timeline.getcolors(1 << 24)), reverse=True)
            painted = 1 - counts[0] / sum(counts)
            if painted < 0.02:
                wrong.append(f"{name}: the timeline is blank: {painted:.1%} of it is painted")
    light, dark = (pictures[name].resize((1, 1)).convert("L").getpixel((0, 0)) for name in ("light", "dark"))
    if light - dark < 100:
        wrong.append(f"light ({light}) and dark ({dark}) look alike")
    return [f"{file.name}: {it}" for it in wrong]


def main(directory, *files):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("no Chromium is installed; scripts/setup --tests installs it on Debian")
        sys.exit(77)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        browser = Browser(program, home)
        try:
            browser.attach()
            wrong = [it for file in files for it in look(browser, pathlib.Path(file), directory)]
        finally:
            browser.close()
    if wrong:
        sys.exit("\n".join(wrong))


main(*sys.argv[1:])
