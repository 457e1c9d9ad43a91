"""How every executed notebook of the site was made, and the checksums of what it left."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.site.collection import Collection
from helpers.site.notebook_pages import Stage
from helpers.site.templates import number, write_page

COMMON = {"cpu": "processor", "platform": "platform", "python": "Python", "packages": "packages"}


def write(collections: Sequence[Collection], source: Path, stages: Mapping[str, Sequence[Stage]]) -> None:
    """Write the page; collections without stamps are left out."""
    told = [_told(one, stages[one.name]) for one in collections if one.stamps]
    write_page(source / "provenance.md", "provenance", told=told)


def _told(collection: Collection, stages: Sequence[Stage]) -> dict:
    stamps = {name: stamp for name, stamp in sorted(collection.stamps.items()) if stamp}
    pages = {page.name: f"{collection.name}/{page.name}.html" for stage in stages for page in stage.pages}
    common = {}
    for key, name in COMMON.items():
        values = list(dict.fromkeys(_in_words(stamp.get(key)) for stamp in stamps.values()))
        common[name] = values[0] if len(values) == 1 else f"{len(values)} different ones, see the details of each"
    revisions = list(dict.fromkeys(stamp["git_revision"] for stamp in stamps.values()))
    common["revisions of the code"] = ", ".join(revision or "none" for revision in revisions)
    changed = sum(bool(stamp["git_dirty"]) for stamp in stamps.values())
    common["with changes not committed"] = f"{changed} of {len(stamps)} notebooks"
    hours = sum(stamp.get("cpu_seconds") or 0 for stamp in stamps.values()) / 3600
    return {
        "name": collection.name,
        "title": collection.title,
        "common": common,
        "sums": f", {number(hours, '.1f')} processor hours in all",
        "rows": [_row(name, stamp, pages.get(name), common) for name, stamp in stamps.items()],
        "artifacts": [{"name": name, **record} for name, record in collection.records.items()],
    }


def _row(name: str, stamp: Mapping, page: str | None, common: Mapping[str, str]) -> dict:
    """A notebook of the table; its details are its parameters, the hash of its source, and what others do not share."""
    details = [f"{key}: {_in_words(value)}" for key, value in stamp.get("parameters", {}).items()]
    details.append(f"SHA-256 of the source: {stamp.get('source_sha256', 'not known')}")
    for key, told in COMMON.items():
        if common[told] != (value := _in_words(stamp.get(key))):
            details.append(f"{told}: {value}")
    if stamp["git_dirty"]:
        details.append(f"not committed: {', '.join(stamp['git_dirty'])}")
    return {
        "name": name,
        "page": page,
        "started": str(stamp["started"])[:16].replace("T", " "),
        "seconds": stamp.get("seconds"),
        "cpu_seconds": stamp.get("cpu_seconds"),
        "peak": stamp.get("peak_memory_mb"),
        "revision": stamp["git_revision"][:7] or "none",
        "details": "\n".join(details),
    }


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return "not known" if value is None else str(value)
