"""What stands above a term in an ontology: is_a alone, read from an OBO file."""

import difflib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ontology:
    """Terms that are not obsolete, by name.

    Attributes
    ----------
    ids
        Name -> identifier.
    parents
        Identifier -> identifiers of the terms that it is_a.
    """

    ids: dict[str, str]
    parents: dict[str, list[str]]

    def ancestors(self, name: str) -> set[str]:
        """Identifiers of all terms above this one, up to the root, without itself. KeyError for an unknown name."""
        above: set[str] = set()
        todo = list(self.parents[self.ids[name]])
        while todo:
            term = todo.pop()
            if term not in above:
                above.add(term)
                todo += self.parents.get(term, [])
        return above

    def nearest(self, name: str) -> str:
        """A hint at a term with nearly this name, or nothing."""
        near = difflib.get_close_matches(name, self.ids, n=1)
        return f" (did you mean {near[0]!r}?)" if near else ""


def read_obo(path: Path) -> Ontology:
    """Read the terms of an OBO file (format 1.2 or 1.4). ValueError if it holds none."""
    stanzas = ("\n" + path.read_text(encoding="utf-8", errors="replace")).split("\n[")[1:]
    terms = [_tags(stanza) for stanza in stanzas if stanza.startswith("Term]")]
    terms = [term for term in terms if term["id"] and term["name"] and term["is_obsolete"] != ["true"]]
    if not terms:
        raise ValueError("it is no OBO file, as it has no [Term] with a name")
    merged = {other: term["id"][0] for term in terms for other in term["alt_id"]}
    return Ontology(
        ids={term["name"][0]: term["id"][0] for term in reversed(terms)},  # of namesakes the first counts
        parents={term["id"][0]: [merged.get(one, one) for one in term["is_a"]] for term in terms},
    )


def _tags(stanza: str) -> dict[str, list[str]]:
    """Values of the tags that matter; of all but the name the first word, as qualifiers and a comment may follow."""
    tags: dict[str, list[str]] = {tag: [] for tag in ("id", "name", "is_a", "alt_id", "is_obsolete")}
    for line in stanza.splitlines():
        tag, _, value = line.partition(": ")
        if tag in tags and value.strip():
            tags[tag].append(value.strip() if tag == "name" else value.split()[0])
    return tags
