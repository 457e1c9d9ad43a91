"""What a notebook tells its reader: the finding in words, and how far it has come."""

import os
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path

FINDING = "cellscale_finding"  # metadata key of the output that the runner copies to the top of the executed notebook
FINDING_PLACE = "*Written from the numbers when the notebook is executed.*"
PROGRESS_FILE = "CELLSCALE_PROGRESS"  # environment variable: where the runner reads how far a stage has come


def finding(text: str) -> None:
    """Show the finding of a notebook, at most a few sentences made from its numbers; the runner puts it
    under the question.
    """
    from IPython.display import Markdown, display

    display(Markdown(f"**Finding.** {text}"), metadata={FINDING: True})


def note(text: str, lines: Iterable[str] = ()) -> None:
    """Show a remark in a notebook, as its text and not as a program's output, with a list of `lines` below it."""
    from IPython.display import Markdown, display

    display(Markdown("\n".join([text, "", *(f"- {line.strip()}" for line in lines)]).strip()))


def track[T](items: Iterable[T], what: str) -> Iterator[T]:
    """Iterate over sized `items` and report progress: to the runner if there is one, else nowhere, so
    that notebooks stay clean.
    """
    assert isinstance(items, Sized)
    target, total, start = os.environ.get(PROGRESS_FILE), len(items), time.monotonic()
    for done, item in enumerate(items):
        if target:
            left = f", about {duration((time.monotonic() - start) / done * (total - done))} left" if done else ""
            Path(target).write_text(f"{done} of {total} {what}{left}")
        yield item


def between(values: Iterable[float], form: str) -> str:
    """The range of some values in words, ``3 to 5``, or one number if both ends look the same."""
    ends = sorted(values)
    return " to ".join(dict.fromkeys(format(end, form) for end in (ends[0], ends[-1])))


def duration(seconds: float) -> str:
    """Seconds as ``1:05`` (minutes) or ``2:03:00`` (hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
