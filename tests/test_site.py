"""The site in a real browser, opened from the file system: it is whole, right, quick, and can be read by all."""

import base64
import re
import urllib.parse
import warnings
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.analysis.results import RESULT_COLUMNS, with_sampling
from helpers.plots.style import VERDICT_COLOURS
from helpers.provenance import read_notebook
from helpers.reading import FINDING, FINDING_PLACE
from helpers.site import (
    Collection,
    SiteError,
    build,
    documents,
    explorer,
    home,
    notebook_pages,
    provenance_page,
    vendor,
)
from helpers.site.__main__ import main
from helpers.site.collection import controls, finished, kept, stamps
from helpers.site.figures import Figure
from helpers.site.templates import write_page

EXECUTED = PROJECT / "notebooks" / "executed"
DEMO = tuple(path for path in sorted(EXECUTED.glob("*.ipynb")) if path.stem != "80_controls")
PRETRAINED = "20_pretrain--pca--random"
KINDS = (
    "index",
    "explorer",
    "provenance",
    "readme",
    "api/models",
    "demo/figures",
    "demo/notebooks",
    "demo/60_saturation",
)
AWKWARD = "heart, A&B = <50 %"  # a name of a set, in place of heart
STUDY = PROJECT / "study" / "tables" / "results.parquet"
LAWS = STUDY.with_name("scaling_laws.parquet")
READY = "document.body.dataset.explorer === 'ready'"
COUNT = "document.getElementById('count').textContent"


def kept_demo(folder: Path) -> Collection:
    """The demo as it is kept: all reading copies and figures. Its tables are not kept: a part of the study's serves."""
    results = pd.read_parquet(STUDY).query("task in ['classification', 'heldout_loss'] and family in ['pca', 'scvi']")
    results = with_lost_rows(results)
    tables = {"results": results, "laws": pd.read_parquet(LAWS).query("model in ['pca', 'scvi']")}
    for name, table in tables.items():
        table.replace({"dataset": {"heart": AWKWARD}}).to_parquet(folder / f"{name}.parquet")
    paths = {name: folder / f"{name}.parquet" for name in tables}
    return Collection("demo", "The demo", DEMO, figures=PROJECT / "figures", stamps=stamps(DEMO), **paths)


def with_lost_rows(results: pd.DataFrame) -> pd.DataFrame:
    """A score that is missing, a size that is not of the corpus, and a run that was given up."""
    results = results.reset_index(drop=True)
    row = results["n_cells"].idxmax()
    results.loc[results["run_id"] == results["run_id"][row], "percentage"] = np.nan
    results.loc[row, "value"] = np.nan
    given_up = results.iloc[[0]].assign(run_id="pca-w1/random/p001.0/s99", status="failed", reason="loss is nan")
    given_up[["task", "dataset", "seen", "metric"]] = None
    given_up[["value", "null", "ceiling"]] = np.nan
    return pd.concat([given_up, results], ignore_index=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shown = [kept_demo(folder), kept(PROJECT / "study"), controls()]
    with warnings.catch_warnings(action="ignore"):  # Sphinx's own extensions use what Sphinx deprecates
        return build(shown, folder / "site", jobs=1).parent


@pytest.fixture
def visit(browser, site):
    """Open a page of the site; what goes wrong on it, and what it asks for, is kept with it."""
    contexts = []

    def open_page(name: str, *, place: str = "", width: int = 1280, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.wrong, page.asked = [], []
        page.on("console", lambda told: page.wrong.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("requestfailed", lambda request: page.wrong.extend(failure(request)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto((site / f"{name}.html").as_uri() + place)
        if name == "explorer":
            page.wait_for_function(READY)
        return page

    yield open_page
    for context in contexts:
        context.close()


def failure(request) -> list[str]:
    """What a request failed by, unless the page was left before."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{request.url}: {request.failure}"]


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return with_sampling(pd.read_parquet(STUDY))


# what is written


class Parsed(HTMLParser):
    """Addresses, places and pictures of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        told = dict(attrs)
        self.places |= {told[key] for key in ("id", "name") if told.get(key)}
        if tag in ("a", "use") and told.get("href"):
            self.links.append(told["href"])
        if tag in ("img", "script", "link") and (address := told.get("src") or told.get("href")):
            self.loaded.append(address)
        if tag == "img" and not (told.get("alt") or "").strip():
            self.without_words.append(told["src"])


@pytest.fixture(scope="module")
def parsed(site) -> dict[Path, Parsed]:
    return {path: Parsed(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_to_a_page_a_file_or_a_place(parsed, site):
    broken = []
    for path, page in parsed.items():
        for address in [*page.links, *page.loaded]:
            link = urllib.parse.urlsplit(address)
            if link.scheme or link.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(link.path)).resolve() if link.path else path
            place, is_page = urllib.parse.unquote(link.fragment), target.suffix == ".html"
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {address}")
            elif place and is_page and not place.startswith("results=") and place not in parsed[target].places:
                broken.append(f"{path.relative_to(site)}: no place {address}")
    assert not broken
    assert sum(len(page.links) for page in parsed.values()) > 1000


def test_nothing_is_loaded_from_a_network(parsed):
    assert not [one for page in parsed.values() for one in page.loaded if re.match(r"([a-z]+:)?//", one)]


def test_every_picture_is_told_in_words(parsed, site):
    assert not [name for page in parsed.values() for name in page.without_words]
    notebook = (site / "demo" / "60_saturation.html").read_text()
    told = re.findall(r'<img alt="([^"]*)"', notebook)
    where = r"By the published rule(, picture 1 of \d+)?, in “60 · Where does learning saturate, [^”]*”\. \w"
    assert any(re.match(where, words) for words in told)


def test_a_figure_leads_to_its_notebook_its_numbers_and_the_explorer(parsed, site):
    links = parsed[site / "study" / "figures.html"].links
    assert "../files/study/figures/source_data/heldout_loss.csv" in links
    assert "../explorer.html#results=study&task=heldout_loss&metric=heldout_loss" in links
    assert "61_scaling_laws.html" in parsed[site / "study" / "notebooks.html"].links


def test_home_shows_the_verdicts_of_the_tables(site):
    text = (site / "index.html").read_text()
    laws = pd.read_parquet(LAWS)
    law = laws.query("axis == 'n_cells' and sampling == 'random' and metric == 'heldout_loss' and model == 'pca'")
    assert set(law["verdict"]) > {"power law"}, "both kinds are looked at"
    for row in law.dropna(subset="exponent").itertuples():
        assert (f"{row.exponent:.2f} ({row.low:.2f} to {row.high:.2f})" in text) == (row.verdict == "power law")
    marks = re.findall(r'class="verdict" style="--mark: (#\w+)"[^>]*>([^<]+)<', text)
    assert len(marks) == 10 + 25
    assert {verdict: colour for colour, verdict in marks}.items() <= VERDICT_COLOURS.items()
    reasons = [unescape(words) for words in re.findall(r"<li><strong>[^<]+</strong>: ([^<]+)</li>", text)]
    assert len(reasons) == len(marks)
    assert set(law["verdict"] + "; " + law["reason"]) <= set(reasons)
    assert "5,655 cells say nothing about 22 million: a corpus this small shows" in text


def test_provenance_tells_how_each_notebook_was_made(site):
    text = (site / "provenance.html").read_text()
    stamp = read_notebook(EXECUTED / f"{PRETRAINED}.ipynb").metadata["cellscale"]
    row = re.search(rf'<tr id="demo-{PRETRAINED}">.*?</tr>', text, re.DOTALL)[0]
    for told in (stamp["git_revision"][:7], stamp["source_sha256"], "family: pca", f'href="demo/{PRETRAINED}.html"'):
        assert told in row
    assert text.count('<tr id="study-') == len(kept(PROJECT / "study").stamps)
    assert f"torch {stamp['packages']['torch']}" in text


def test_a_notebook_says_what_it_found_and_folds_its_code():
    cells = [new_markdown_cell("# 60 · Where?\n\n**Finding.** At 1 %.\n\n**Method.** Two rules.")]
    cells += [new_code_cell("a = 1\nb = 2"), new_code_cell("x = 3", metadata={"tags": ["injected-parameters"]})]
    cells[1].outputs = [
        new_output("display_data", {"text/markdown": "**Finding.** At 1 %."}, metadata={FINDING: True}),
        new_output("stream", text="one curve"),
    ]
    notebook = new_notebook(cells=cells)
    page = notebook_pages.describe("60_saturation--pca--cell_type", notebook)
    assert (page.stage, page.about, page.question) == ("60_saturation", "PCA, cell type", "60 · Where?")
    assert page.finding == "At 1 %."
    notebook_pages.prepare(notebook, page, "<div>bar</div>")
    assert notebook.cells[0].source.startswith(
        "# 60 · Where? (PCA, cell type)\n\n<div>bar</div>\n\n:::{admonition} Finding"
    )
    assert notebook.cells[0].source.endswith("At 1 %.\n:::\n\n**Method.** Two rules.\n")
    assert [output.output_type for output in notebook.cells[1].outputs] == ["stream"], "the finding is on top"
    assert notebook.cells[1].metadata["tags"] == ["hide-input"]
    assert notebook.cells[1].metadata["mystnb"]["code_prompt_show"] == "Code, 2 lines"
    assert notebook.cells[2].metadata["tags"] == ["injected-parameters"]


def test_a_notebook_that_was_not_finished_has_no_finding():
    text = f"# 60 · Where?\n\n**Finding.** {FINDING_PLACE}\n\n**Method.** Two rules."
    assert notebook_pages.describe("60_saturation", new_notebook(cells=[new_markdown_cell(text)])).finding == ""


def test_links_of_documents_lead_to_pages_and_copies(tmp_path):
    shown = [Collection("demo", "The demo", tuple(path for path in DEMO if path.stem != "90_figures"))]

    def relinked(text: str, name: str = "README.md") -> str:
        return documents.relinked(text, PurePosixPath(name), shown, tmp_path)

    assert relinked("[a](docs/scale.md#measured)") == "[a](docs/scale.md#measured)"
    assert relinked("[a](../README.md)", "data/README.md") == "[a](../readme.md)"
    assert relinked("[all](notebooks/executed)") == "[all](demo/notebooks.md)"
    assert relinked("[60](notebooks/executed/60_saturation.ipynb)") == "[60](demo/60_saturation.ipynb)"
    assert relinked("[`d`](params/demo.yaml)") == "[`d`](params/demo.yaml)"
    assert (tmp_path / "params" / "demo.yaml").read_text() == (PROJECT / "params" / "demo.yaml").read_text()
    assert relinked("[not shown](notebooks/executed/90_figures.ipynb), [none](nowhere)") == "not shown, none"
    same = "[a](https://doi.org/10.1) [b](#two-commands)"
    assert relinked(same) == same


def test_the_table_of_the_explorer_keeps_every_number(study):
    some = pd.concat([study.head(2950), study.query("task == 'heldout_loss'").head(50)], ignore_index=True)
    told = explorer.encode(some.assign(metric=some["metric"].replace("micro_f1", "my_own")))
    columns = {
        name: np.frombuffer(base64.b64decode(packed["data"]), f"<{packed['type'][0]}{packed['type'][1]}")
        for name, packed in told["columns"].items()
    }
    assert columns["value"].tolist() == some["value"].tolist()
    assert [told["ceilings"][code] for code in columns["ceiling"]] == some["ceiling"].tolist()
    assert [told["runs"]["run_id"][code] for code in columns["runs"]] == some["run_id"].tolist()
    assert [told["sets"]["dataset"][code] for code in columns["sets"]] == some["dataset"].tolist()
    metrics = {metric["name"]: metric for metric in told["metrics"]}
    assert metrics["my_own"] == {"name": "my_own"}
    aims = {name: metrics[name]["aim"] for name in ("macro_f1", "heldout_loss")}
    assert aims == {"macro_f1": "ceiling", "heldout_loss": "reference"}
    assert told["words"]["metric"]["heldout_loss"] == "held-out loss"
    assert (metrics["macro_f1"]["low"], metrics["macro_f1"]["high"], metrics["macro_f1"]["best"]) == (0, 1, 1)


# how it behaves


def test_every_page_loads_without_complaint_and_fits_a_narrow_screen(visit, parsed, site):
    wide = "Math.max(...[document.documentElement, ...document.querySelectorAll('.content')].map(e => e.scrollWidth))"
    page, too_wide = visit("index", width=360), {}
    for path in parsed:
        page.goto(path.as_uri())
        if path.name == "explorer.html":
            page.wait_for_function(READY)
        if (width := page.evaluate(wide)) > 360:
            too_wide[str(path.relative_to(site))] = width
        assert not page.wrong, path.relative_to(site)
    assert not too_wide
    assert all(address.startswith(("file:", "data:", "blob:")) for address in page.asked)


def test_home_is_light_and_stands_within_a_second(visit):
    page = visit("index")
    page.wait_for_load_state("load")
    files = {Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)) for address in page.asked}
    assert sum(file.stat().st_size for file in files) <= 1_000_000
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") <= 1000


CONTRASTS = """() => {
  const parts = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { c: [r, g, b], a }; };
  const light = (c) => c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const over = (top, under) => top.c.map((v, i) => v * top.a + under[i] * (1 - top.a));
  const ground = (node) => {
    const own = node ? parts(getComputedStyle(node).backgroundColor) : { c: [255, 255, 255], a: 1 };
    return own.a === 1 ? own.c : over(own, ground(node.parentElement));
  };
  const opacity = node => node ? getComputedStyle(node).opacity * opacity(node.parentElement) : 1;
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter(one => one.nodeType === 3).map(one => one.data.trim()).join("");
    const seen = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text || !seen || node.closest("svg, select, :disabled, .disabled")) continue;
    const back = ground(node), ink = parts(getComputedStyle(node).color);
    const front = over({ c: ink.c, a: ink.a * opacity(node) }, back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push(`${node.tagName}.${node.className}: ${text.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""


NAMELESS = """() => {
  const seen = node => node.checkVisibility({ visibilityProperty: true });
  const all = (what) => [...document.querySelectorAll(what)].filter(seen);
  const words = node => [node.getAttribute("aria-label"), node.labels?.[0]?.textContent, node.textContent,
    node.title, node.querySelector("img")?.alt].find(one => one?.trim()) || "";
  const told = node => `${node.tagName} ${node.className || node.id || node.name}`;
  const wrong = all("a[href], button, select, textarea, input:not([type=hidden]), summary, [role=button], [role=img]")
    .filter(node => !words(node) && !node.getAttribute("aria-labelledby")).map(node => `${told(node)} has no name`);
  const levels = all("h1, h2, h3, h4, h5, h6").map(node => [Number(node.tagName[1]), node.textContent]);
  levels.forEach(([level, text], i) => {
    if (level > (levels[i - 1]?.[0] ?? 0) + 1) wrong.push(`H${level} ${text} skips a level`);
  });
  if (levels.filter(([level]) => level === 1).length !== 1) wrong.push("not one H1");
  const ids = [...document.querySelectorAll("[id]")].map(node => node.id);
  wrong.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map(id => `id ${id} is there twice`));
  wrong.push(...all("[role=heading]:not([aria-level])").map(node => `${told(node)} has no level`));
  wrong.push(...all("table").filter(node => !node.querySelector("th")).map(node => `${told(node)} has no heads`));
  wrong.push(...all("img").filter(node => node.alt.length < 20 || /\\.(svg|png)/.test(node.alt)).map(
    node => `${node.src} is told as ${node.alt}`));
  if (document.documentElement.lang !== "en" || !document.title.trim()) wrong.push("no language or title");
  return wrong;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_and_everything_has_a_name_and_a_place(visit, site, scheme):
    page = visit("index", scheme=scheme)
    for name in KINDS:
        page.goto((site / f"{name}.html").as_uri())
        if name == "explorer":
            page.wait_for_function(READY)
            page.wait_for_selector("#curve .main-svg")
        assert page.evaluate(CONTRASTS) == [], name
        assert page.evaluate(NAMELESS) == [], name


MARK = """() => {
  const node = document.activeElement;
  if (node === document.body) return null;
  const { outlineStyle, outlineWidth, outlineColor, boxShadow } = getComputedStyle(node);
  const outlined = outlineStyle !== "none" && outlineWidth !== "0px" && outlineColor !== "transparent";
  return { node: `${node.tagName}.${node.className} ${node.textContent.trim().slice(0, 30)}`,
    shown: outlined || boxShadow !== "none" };
}"""


@pytest.mark.parametrize("name", ["index", "explorer", "demo/60_saturation"])
def test_the_focus_can_be_seen_wherever_the_keyboard_leads(visit, name):
    page, met = visit(name), []
    for _ in range(60):
        page.keyboard.press("Tab")
        if (mark := page.evaluate(MARK)) is None:
            break
        met.append(mark)
    assert len({mark["node"] for mark in met}) > 25
    assert not [mark["node"] for mark in met if not mark["shown"]]


def test_dark_mode_follows_the_system_and_the_switch(visit):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit("index", scheme=scheme) for scheme in ("light", "dark"))
    white, black = light.evaluate(ground), dark.evaluate(ground)
    assert white == "rgb(255, 255, 255)"
    assert black != white
    for _ in range(3):  # automatic, light, dark, in some order
        light.locator(".theme-toggle-content .theme-toggle").click()
        if light.evaluate("document.body.dataset.theme") == "dark":
            assert light.evaluate(ground) == black
            return
    pytest.fail("the switch never reached the dark")


def test_search_finds_pages_without_a_server(visit, site):
    page = visit("search")
    page.goto((site / "search.html").as_uri() + "?q=saturation")
    page.wait_for_selector("#search-results li a")
    assert not page.wrong


def test_code_is_folded_and_opens_by_keyboard(visit):
    page = visit("demo/60_saturation")
    is_open = "[...document.querySelectorAll('details.hide')].map(part => part.open)"
    assert not any(page.evaluate(is_open))
    page.locator("button.show-code").focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('details.hide > summary')"):
            break
    page.keyboard.press("Enter")
    assert page.evaluate(is_open).count(True) == 1
    page.locator("button.show-code").focus()
    page.keyboard.press("Enter")
    assert all(page.evaluate(is_open))
    assert page.locator("button.show-code").get_attribute("aria-pressed") == "true"


FOCUS = """() => {
  const node = document.activeElement, { left, right } = node.getBoundingClientRect();
  const drawer = node.closest(".sidebar-drawer, .toc-drawer")?.classList[0] || "";
  const name = node.getAttribute("aria-label") || node.textContent.trim();
  return { name, drawer, off: right <= 0 || left >= innerWidth };
}"""


@pytest.mark.parametrize(
    ("icon", "name", "drawer"),
    [
        ("nav-overlay-icon", "Pages of the site", "sidebar-drawer"),
        ("toc-header-icon", "Contents of this page", "toc-drawer"),
    ],
)
def test_drawers_of_a_narrow_screen_open_and_close_by_keyboard(visit, icon, name, drawer):
    page = visit("readme", width=360)

    def steps(n: int) -> list[dict]:
        found = []
        for _ in range(n):
            page.keyboard.press("Tab")
            found.append(page.evaluate(FOCUS))
        return found

    closed = steps(12)
    assert not [one for one in closed if one["drawer"] or one["off"]], "what is closed is passed over"
    names = [one["name"] for one in closed]
    assert name in names
    button = page.locator(f".{icon}")
    for key in ("Enter", "Space"):
        button.focus()
        assert button.get_attribute("role") == "button"
        assert button.get_attribute("aria-expanded") == "false"
        page.keyboard.press(key)
        assert button.get_attribute("aria-expanded") == "true"
        assert page.evaluate(FOCUS)["drawer"] == drawer
        assert steps(1)[0]["drawer"] == drawer
        page.keyboard.press("Escape")
        assert button.get_attribute("aria-expanded") == "false"
        assert page.evaluate(FOCUS)["name"] == name
    page.wait_for_function(f"getComputedStyle(document.querySelector('.{drawer}')).visibility === 'hidden'")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert not page.wrong


# the explorer


def choose(page, facet: str, *values: str) -> None:
    """Tick the boxes of a filter."""
    box = page.locator(f"details[data-facet={facet}]")
    box.locator("summary").click()
    for value in values:
        box.locator(f"input[value='{value}']").check()
    box.locator("summary").click()


def downloaded(page) -> pd.DataFrame:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    return pd.read_csv(waiting.value.path(), float_precision="round_trip")


def column(page, name: str) -> Iterator[str]:
    heads = page.locator("#scores thead th").all_inner_texts()
    place = [head.split()[0] for head in heads].index(name) + 1
    return page.locator(f"#scores tbody td:nth-child({place})").all_inner_texts()


def test_explorer_filters_and_sorts_as_pandas_does(visit, study):
    page = visit("explorer", place="#results=study")
    assert f"{len(study):,} of {len(study):,} scores" in page.evaluate(COUNT)
    choose(page, "family", "pca", "ssl")
    choose(page, "metric", "macro_f1")
    choose(page, "dataset", "pbmc3k")
    expected = study.query("family in ['pca', 'ssl'] and metric == 'macro_f1' and dataset == 'pbmc3k'")
    assert f"{len(expected):,} of {len(study):,} scores" in page.evaluate(COUNT)
    assert page.locator("#count").get_attribute("aria-live") == "polite"

    page.locator("#scores thead th").filter(has_text="value").click()
    page.wait_for_function("location.hash.includes('sort=value:asc')")
    ascending = expected.sort_values("value", kind="stable")
    found = downloaded(page)
    assert found["run_id"].tolist() == ascending["run_id"].tolist()
    assert found["value"].tolist() == ascending["value"].tolist()
    assert found["null"].tolist() == ascending["null"].tolist()
    assert column(page, "value") == [f"{value:#.4g}" for value in ascending["value"].head(25)]

    page.locator("#scores thead th").filter(has_text="value").click()
    page.wait_for_function("location.hash.includes('sort=value:desc')")
    assert downloaded(page)["value"].tolist() == ascending["value"].tolist()[::-1]


def test_missing_numbers_stand_last_in_either_direction(visit, study):
    for direction in ("asc", "desc"):
        page = visit("explorer", place=f"#results=study&task=classification&sort=n_cells:{direction}")
        found = downloaded(page)["n_cells"]
        expected = study.query("task == 'classification'")["n_cells"].sort_values(ascending=direction == "asc")
        pd.testing.assert_series_equal(found, expected.reset_index(drop=True))
        assert found.isna().iloc[-1]


def test_choices_say_how_many_scores_they_would_show(visit, study):
    page = visit("explorer", place="#results=study&task=integration&metric=nmi")
    page.locator("details[data-facet=family] summary").click()
    told = page.locator("details[data-facet=family] label:visible").all_inner_texts()
    rows = study.query("task == 'integration' and metric == 'nmi'")
    counts = {text.split("\n")[0].strip(): text.split()[-1] for text in told}
    assert counts["PCA"] == f"{(rows['family'] == 'pca').sum():,}"
    assert "majority" not in counts  # has no such score


def test_a_row_shows_its_curve_under_the_pointer_and_the_keyboard(visit, study):
    page = visit("explorer", place="#results=study&family=pca,scvi&metric=macro_f1&task=classification&dataset=pbmc3k")
    rows = page.locator("#scores tbody tr")
    rows.nth(3).hover()
    page.wait_for_selector("#curve .main-svg")
    assert page.locator("#curve-title").inner_text() == "PCA, random: macro F1 on pbmc3k"
    assert {*column(page, "metric")} == {"macro F1"}, "as in the title"
    assert page.evaluate("document.getElementById('curve').layout.yaxis.title.text") == "macro F1"
    drawn = page.evaluate(
        "Object.fromEntries(document.getElementById('curve').data.map(one => [one.name, [...one.y]]))"
    )
    curve = study.query(
        "family == 'pca' and sampling == 'random' and metric == 'macro_f1' and task == 'classification' "
        "and dataset == 'pbmc3k' and n_cells > 0"
    )
    means = curve.groupby("n_cells")["value"].mean()
    assert drawn["mean"] == pytest.approx(means.tolist())
    assert sorted(drawn["seeds"]) == pytest.approx(sorted(curve["value"]))
    assert drawn["null"][0] == pytest.approx(curve["null"].iloc[0])
    assert drawn["ceiling"][0] == pytest.approx(curve["ceiling"].iloc[0])
    assert f"{means.iloc[0]:.4g}" in page.locator("#curve-words").inner_text()
    assert "macro F1 over types" in page.locator("#metric").inner_text()

    page.mouse.move(0, 0)
    page.locator("#scores tbody tr[tabindex='0']").focus()
    page.keyboard.press("End")
    last = page.locator("#curve-title").inner_text()
    assert page.evaluate("document.activeElement === document.querySelector('#scores tbody').lastElementChild")
    page.keyboard.press("Enter")
    assert page.locator("#scores tr[aria-current]").count() == 1
    rows.nth(0).hover()
    assert page.locator("#curve-title").inner_text() == last


def test_the_address_keeps_the_filters(visit):
    page = visit("explorer", place="#results=study")
    choose(page, "family", "geneformer")
    choose(page, "metric", "heldout_loss")
    page.locator("#scores thead th").filter(has_text="cells").first.click()
    page.wait_for_function("location.hash.includes('sort=')")
    address, count, first = page.url.partition("#")[2], page.evaluate(COUNT), column(page, "value")
    again = visit("explorer", place=f"#{address}")
    assert again.evaluate(COUNT) == count
    assert column(again, "value") == first
    assert again.locator("input[value=geneformer]").is_checked()
    again.locator("#reset").click()
    assert "107,028 of 107,028" in again.evaluate(COUNT)


def test_a_verdict_leads_to_its_curve_whatever_the_name_of_the_set(visit, site):
    page = visit("index")
    page.locator("table.verdicts").first.locator("tbody tr", has_text="scVI").locator("td").nth(3).locator("a").click()
    page.wait_for_function(READY)
    table = pd.read_parquet(site / "files" / "demo" / "results.parquet")
    expected = table[(table["family"] == "scvi") & (table["dataset"] == AWKWARD) & (table["task"] == "heldout_loss")]
    expected = with_sampling(expected).query("sampling == 'random'")
    assert page.evaluate(COUNT).startswith(f"{len(expected)} of ")
    assert len(expected) == 30
    assert page.locator("#curve-title").inner_text() == f"scVI, random: held-out loss on {AWKWARD}"
    choose(page, "dataset", "pbmc3k")
    address, count = page.url.partition("#")[2], page.evaluate(COUNT)
    assert count.startswith("60 of ")
    assert address.count(",") == 1, "between two sets"
    assert visit("explorer", place=f"#{address}").evaluate(COUNT) == count
    page.evaluate("location.hash = '#results=demo&family=%zz,scvi&dataset&&sort=:'")
    page.wait_for_function("location.hash === '#results=demo&family=scvi'")
    assert not page.wrong, "an address that nobody wrote"


def test_a_run_that_was_given_up_is_told_and_has_no_row(visit):
    page = visit("explorer", place="#results=demo&sort=value:asc")
    table = pd.read_parquet(page.evaluate("document.querySelector('a[href$=\"demo/results.parquet\"]').href"))
    assert table["task"].isna().sum() == 1
    runs = table.dropna(subset="task")["run_id"].nunique()
    scores = f"{len(table) - 1:,}"
    assert page.evaluate(COUNT) == f"{scores} of {scores} scores, {runs:,} runs; 1 run was given up"
    assert not page.wrong
    lost = table.loc[table["value"].isna() & table["task"].notna()].iloc[0]
    assert downloaded(page)["run_id"].iloc[-1] == lost["run_id"]
    place = {"results": "demo", "family": lost["family"], "dataset": lost["dataset"], "metric": lost["metric"]}
    page = visit("explorer", place=f"#{urllib.parse.urlencode(place | {'sort': 'n_cells:desc'})}")
    page.wait_for_selector("#curve .main-svg")
    told = page.locator("#curve-words").inner_text()
    assert "NaN" not in told
    assert "Means: " in told
    assert not page.wrong


def test_filters_that_no_row_fits_leave_no_curve(visit):
    page = visit("explorer", place="#results=study&task=heldout_loss&metric=heldout_loss&family=pca&dataset=kang_ctrl")
    page.wait_for_selector("#curve .main-svg")
    assert re.search(r"Null [\d.]+, reference [\d.]+\.", page.locator("#curve-words").inner_text())
    names = page.evaluate("document.getElementById('curve').data.map(one => one.name)")
    assert "reference" in names
    assert "ceiling" not in names
    assert page.locator("details[data-facet=dataset] .facet-chosen").inner_text() == "kang_ctrl"
    page.evaluate("location.hash = '#results=study&task=heldout_loss&metric=macro_f1&family=pca&dataset=kang_ctrl'")
    page.wait_for_function(f"{COUNT}.startsWith('0 of ')")
    assert page.locator("#curve").is_hidden()
    assert page.locator("#curve-title").inner_text() == "Curve"
    assert page.locator("#curve-words").inner_text() == "No row fits these filters."
    assert page.locator("#metric").inner_text() == ""
    assert page.locator("#scores tbody").inner_text() == "No row fits these filters."
    page.locator("#reset").click()
    page.wait_for_selector("#curve .main-svg")


def test_a_filter_that_the_results_lack_is_dropped(visit):
    page = visit("explorer", place="#results=study&family=geneformer,pca")
    page.locator("#collection").select_option("demo")
    page.wait_for_function(f"{COUNT}.includes('given up')")
    assert "family=pca&" in f"{page.url}&"
    assert "geneformer" not in page.url
    assert page.locator("details[data-facet=family] .facet-chosen").inner_text() == "PCA"


def test_collections_are_chosen_by_name(visit):
    page = visit("explorer")
    assert page.locator("#collection").input_value() == "demo"
    before = page.evaluate(COUNT)
    page.locator("#collection").select_option("study")
    page.wait_for_function(f"{COUNT} !== '{before}'")
    assert "107,028" in page.evaluate(COUNT)


# From the moment that the page hears of a choice to the frame that shows rows of it.
STOPWATCH = """() => {
  window.taken = [];
  for (const heard of ["input", "click", "keydown"]) addEventListener(heard, ({ target, timeStamp }) => {
    if (heard === "click" && !target.closest("th, button")) return;
    window.heard ??= timeStamp;
  }, true);
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => {
    if (window.heard) window.taken.push(performance.now() - window.heard);
    window.heard = null;
  }))).observe(document.querySelector("#scores tbody"), { childList: true });
}"""


def test_a_hundred_thousand_rows_stay_fluid(visit, study):
    page = visit("explorer", place="#results=study")
    page.wait_for_selector("#curve .main-svg")
    page.evaluate(STOPWATCH)
    taken: dict[str, list[float]] = {}

    def timed(what: str) -> None:
        page.wait_for_function("window.taken.length > 0")
        taken.setdefault(what, []).append(page.evaluate("Math.max(...window.taken.splice(0))"))

    head = page.locator("#scores thead th").filter(has_text="value")
    for _ in range(2):  # the other worker of the tests may have the processor once
        page.locator("details[data-facet=metric] summary").click()
        page.locator("input[value=macro_f1]").check()
        timed("filter by pointer")
        assert set(column(page, "metric")) == {"macro F1"}
        page.keyboard.press("Escape")
        page.locator("details[data-facet=family] summary").press("Enter")
        page.locator("input[value=ssl]").press("Space")
        timed("filter by keyboard")
        assert set(column(page, "family")) == {"SSL"}
        page.locator("#reset").click()
        timed("clear")
        for direction, extreme in (("up", study["value"].min()), ("down", study["value"].max())):
            head.click()
            timed(f"sort {direction}")
            assert float(column(page, "value")[0]) == pytest.approx(extreme, rel=1e-3)
        head.click()
        timed("as in the table")
        assert column(page, "dataset") == study["dataset"].head(25).tolist()
    assert len(study) > 100_000
    assert len(taken) == 6
    assert max(map(min, taken.values())) < 300, taken  # milliseconds


# what cannot be built


def test_a_design_that_was_not_run_says_what_to_do(tmp_path, write_design, demo, capsys, monkeypatch):
    with pytest.raises(
        SiteError, match=r"no notebooks, figures, results\.parquet, scaling/laws\.parquet there: run make "
    ):
        finished(tmp_path, "params/mine.yaml")
    assert main([str(write_design(demo | {"name": "never_run"}))]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: never_run: no notebooks")
    assert told.count("\n") == 1


def test_the_page_of_the_site_explains_every_column():
    table = (PROJECT / "docs" / "site.md").read_text().partition("## Columns of the table")[2].partition("\n## ")[0]
    told = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(RESULT_COLUMNS)


def small_design(folder: Path) -> Collection:
    """A user's own design: one model on a score, another that was given up, and no law yet."""
    table = with_lost_rows(pd.read_parquet(STUDY).query("family == 'pca' and strategy == 'random'").head(1))
    table = table.assign(percentage=10.0, value=0.5)
    table.to_parquet(folder / "results.parquet")
    (folder / "notebooks").mkdir()
    (folder / "figures").mkdir()
    (folder / "scaling").mkdir()
    pd.read_parquet(LAWS).head(0).to_parquet(folder / "scaling" / "laws.parquet")
    return finished(folder, "params/mine.yaml")


def test_home_of_a_small_design_counts_its_own_and_names_the_study(tmp_path):
    folder = tmp_path / "My_r9c"
    folder.mkdir()
    own = small_design(folder)
    assert (own.title, own.inside) == ("My_r9c", "My_r9c")
    n_cells = f"{pd.read_parquet(own.results)['n_cells'].max():,.0f}"
    shown = [own, kept(PROJECT / "study")]
    named = {one.name: () for one in shown}
    home.write(shown, tmp_path, stages=named, figures=named, documents=())
    text = (tmp_path / "index.md").read_text()
    told = (
        f"Here 1 model (PCA) learned from {n_cells} cells, drawn in 1 way; with untrained ones and baselines they have"
    )
    assert told in text
    assert ">Explore 1 score</a>" in text
    assert "<caption><span>The project's study: held-out loss" in text
    assert "Figures: the project's study <study/figures>" in text


def test_pages_count_one_thing_as_one(tmp_path):
    controlled = controls()
    stages = notebook_pages.write(controlled, tmp_path / "source", tmp_path / "files")
    write_page(tmp_path / "notebooks.md", "notebooks", collection=controlled, stages=stages)
    assert "\n1 executed notebook of 1 stage. " in (tmp_path / "notebooks.md").read_text()
    provenance_page.write([controlled], tmp_path, {"controls": stages})
    assert "<span>1 executed notebook, " in (tmp_path / "provenance.md").read_text()
    figure = Figure("one", "One", "", "files/one")
    write_page(tmp_path / "figures.md", "figures", collection=controlled, figures=[figure], drawn_by="90_figures.ipynb")
    assert "\n1 figure, drawn " in (tmp_path / "figures.md").read_text()


def test_a_name_that_the_site_needs_itself_is_refused(tmp_path):
    for names in (["api"], ["controls", "controls"]):
        with pytest.raises(SiteError, match=f"name = '{names[0]}': the site has a folder of that name"):
            build([Collection(name, "Mine", ()) for name in names], tmp_path / "site")


def test_a_module_becomes_a_script_only_if_it_is_understood():
    assert 'window.itables={"Table":a,"b":b};' in vendor.classic("var a=1,b=2;export{a as Table,b};")
    for module in ("var a=1;", "export{a};export{b};", "import x from './y.js';\nexport{a};"):
        with pytest.raises(SiteError, match="another form"):
            vendor.classic(module)
