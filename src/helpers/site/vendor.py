"""The libraries of the explorer, copied from their installed packages: DataTables (MIT) and plotly.js (MIT)."""

import re
import shutil
from importlib.resources import files
from pathlib import Path

from helpers.site.collection import SiteError

EXPORTS = re.compile(r"export\s*\{([^{}]*)\}\s*;?")


def copy_libraries(to: Path) -> None:
    """Write ``datatables.js`` and ``plotly.min.js`` to a folder."""
    bundle = files("itables") / "html" / "dt_bundle.js"
    (to / "datatables.js").write_text(classic(bundle.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(str(files("plotly") / "package_data" / "plotly.min.js"), to)


def classic(module: str) -> str:
    """A script of an ES module, whose exports become members of ``window.itables``: browsers refuse to load modules
    from the file system.

    Raises SiteError if the module does not export in one place, or imports.
    """
    found = list(EXPORTS.finditer(module))
    if len(found) != 1 or re.search(r"^import\b", module, re.MULTILINE):
        raise SiteError(f"the bundle of itables has another form than expected: {len(found)} lists of exports")
    pairs = [entry.split(" as ") for entry in found[0][1].split(",")]
    members = ",".join(f'"{pair[-1].strip()}":{pair[0].strip()}' for pair in pairs)
    body = f"{module[: found[0].start()]}window.itables={{{members}}};{module[found[0].end() :]}"
    return f'(()=>{{"use strict";\n{body}\n}})();\n'
