"""The site of a finished design in headless Chromium: what its pages load and wait for, and a step of the explorer.

``python -m benchmarks.site [--small] [--design params/demo.yaml]`` builds the site first; --small takes the one that is
there. Opened from the file system; seconds are medians of REPEATS, bytes those of all that a page loads by itself.
"""

import argparse
import os
import resource
import shutil
import statistics
import sys
import time
import urllib.parse
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.common import report
from helpers.design import load_design
from helpers.provenance import project_path
from helpers.site.__main__ import main as build_site

REPEATS = 5
PAGES = ("index.html", "demo/60_saturation.html", "demo/figures.html", "provenance.html", "explorer.html")
BROWSERS = ("google-chrome", "chromium", "chromium-browser")
READY = "document.body.dataset.explorer === 'ready'"
LARGEST = "#results=study"
# A step from the click to the moment when its rows stand on the screen, in milliseconds.
STEP = """(selector) => new Promise((resolve) => {
  const start = performance.now();
  const done = new MutationObserver(() => {
    done.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
  });
  done.observe(document.querySelector("#scores tbody"), { childList: true });
  document.querySelector(selector).click();
})"""
STEPS = {
    "filter by a family": "input[value=ssl]",
    "and by a metric": "input[value=macro_f1]",
    "clear the filters": "#reset",
    "sort by value, first time": "#scores thead th:nth-child(6) [role=button]",
    "sort by value, downwards": "#scores thead th:nth-child(6) [role=button]",
    "next page": "#scores_wrapper .dt-paging-button.next",
}


def loaded(browser: Browser, address: str) -> tuple[float, float]:
    """Megabytes that a page loads, and seconds until it can be used, of a fresh browser context each time."""
    seconds, files = [], set()
    for _ in range(REPEATS):
        context = browser.new_context()
        page = context.new_page()
        page.on("request", lambda request: files.add(urllib.parse.urlsplit(request.url).path))
        page.goto(address)
        if "explorer" in address:
            page.wait_for_function(READY)
            seconds.append(page.evaluate("performance.now()") / 1000)
        else:
            timing = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
            seconds.append(timing["domContentLoadedEventEnd"] / 1000)
        context.close()
    return sum(Path(urllib.parse.unquote(file)).stat().st_size for file in files) / 1e6, statistics.median(seconds)


def steps(browser: Browser, address: str) -> dict[str, float]:
    """Seconds of each step of the explorer, median of fresh pages."""
    taken: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(REPEATS):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function(READY)
        page.wait_for_selector("#curve .main-svg")
        for name, selector in STEPS.items():
            taken[name].append(page.evaluate(STEP, selector) / 1000)
        page.close()
    return {name: statistics.median(values) for name, values in taken.items()}


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if the site misses what it is to keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.site", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="take the site that is there")
    parser.add_argument("--design", default="params/demo.yaml")
    options = parser.parse_args(arguments)
    site, rows, built = project_path("results") / load_design(options.design).name / "site", [], 0.0
    if not options.small:
        start = time.perf_counter()
        if build_site([options.design]):
            return 1
        built = time.perf_counter() - start
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        processor = sum(one.ru_utime + one.ru_stime for one in used)
        rows.append({"what": f"build, {processor:.0f} s of processor with the start of Python", "seconds": built})
    found = next(path for name in BROWSERS if (path := shutil.which(name)))
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=sandbox)
        pages = {name: loaded(browser, (site / name).as_uri()) for name in PAGES if (site / name).exists()}
        pages["explorer.html, study"] = loaded(browser, f"{(site / 'explorer.html').as_uri()}{LARGEST}")
        taken = steps(browser, f"{(site / 'explorer.html').as_uri()}{LARGEST}")
        browser.close()
    rows += [{"what": name, "MB": size, "seconds": seconds} for name, (size, seconds) in pages.items()]
    rows += [{"what": f"explorer: {name}", "seconds": seconds} for name, seconds in taken.items()]
    claims = {
        "built within 2 minutes": built <= 120,
        "home loads at most 1 MB": pages["index.html"][0] <= 1,
        "home is interactive within 1 s": pages["index.html"][1] <= 1,
        "a step of the explorer takes at most 0.2 s": max(taken.values()) <= 0.2,
    }
    return report("site", "The site, opened from the file system", rows, claims)


if __name__ == "__main__":
    sys.exit(main())
