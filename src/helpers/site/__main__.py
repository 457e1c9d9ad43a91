"""``python -m helpers.site DESIGN`` builds the site of a finished design, with the kept study beside it."""

import argparse
import sys
import time
from pathlib import Path

from helpers.design import load_design
from helpers.messages import answered
from helpers.notebooks import PROVENANCE
from helpers.provenance import find_project
from helpers.site import build
from helpers.site.collection import controls, finished, kept


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if the design was not run, or a page could not be made."""
    parser = argparse.ArgumentParser(prog="python -m helpers.site", description="Build the site of a finished design.")
    parser.add_argument("design", type=Path, help="design file, e.g. params/demo.yaml")
    return answered(lambda: _built(parser.parse_args(arguments).design))


def _built(design: Path) -> str:
    """Build the site, and say where it is and how long that took."""
    started, project = time.monotonic(), find_project()
    results = project / "results" / load_design(design).name
    collections = [finished(results, str(design))]
    if (project / "study" / PROVENANCE).exists() and results.name != "study":
        collections.append(kept(project / "study"))
    index = build([*collections, controls()], results / "site")
    return f"{index.relative_to(project)} was built in {time.monotonic() - started:.0f} s: open it."


if __name__ == "__main__":
    sys.exit(main())
