"""``python -m helpers.site DESIGN`` builds the site of a finished design, with the kept study beside it."""

import argparse
import sys
import time
from pathlib import Path

from helpers.design import DesignError, load_design
from helpers.notebooks import PROVENANCE
from helpers.provenance import find_project
from helpers.site import SiteError, build
from helpers.site.collection import controls, finished, kept


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if the design was not run, or a page could not be made."""
    parser = argparse.ArgumentParser(prog="python -m helpers.site", description="Build the site of a finished design.")
    parser.add_argument("design", type=Path, help="design file, e.g. params/demo.yaml")
    design, started = parser.parse_args(arguments).design, time.monotonic()
    project = find_project()
    try:
        results = project / "results" / load_design(design).name
        collections = [finished(results, str(design))]
        if (project / "study" / PROVENANCE).exists() and results.name != "study":
            collections.append(kept(project / "study"))
        index = build([*collections, controls()], results / "site")
    except (SiteError, DesignError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{index.relative_to(project)} was built in {time.monotonic() - started:.0f} s: open it.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
