// Every page: a switch that opens all code of a notebook, boxes that scroll by keyboard, drawers that open by it.
(() => {
  const button = document.querySelector("button.show-code");
  const folded = document.querySelectorAll("details.hide.above-input");
  if (button && folded.length === 0) button.hidden = true;
  if (button) {
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(open));
      for (const part of folded) part.open = open;
    });
  }
  const boxes = document.querySelectorAll(".scroll, .table-wrapper, .cell_output .text_html, .highlight pre, dl.py dt.sig");
  const reachable = () => {
    for (const [place, box] of boxes.entries()) {
      if (box.scrollWidth > box.clientWidth) {
        box.tabIndex = 0;
        if (box.matches("div")) {
          box.setAttribute("role", "region");
          box.setAttribute("aria-label", box.querySelector("caption")?.textContent.trim() || `Wide table, box ${place + 1} of the page`);
        }
      } else {
        box.removeAttribute("tabindex");
        box.removeAttribute("role");
        box.removeAttribute("aria-label");
      }
    }
  };
  reachable();
  window.addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true);

  // Sphinx calls the captions of the sidebar headings and does not say of which level.
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");

  // furo's icons are labels of hidden boxes, which no key reaches; site.css hides a drawer that is closed.
  const drawers = [["__navigation", ".nav-overlay-icon", ".sidebar-drawer", "Pages of the site"], ["__toc", ".toc-overlay-icon", ".toc-drawer", "Contents of this page"]].map(([box, icon, drawer, words]) => ({
    box: document.getElementById(box), icons: [...document.querySelectorAll(icon)], drawer: document.querySelector(drawer), words,
  })).filter(({ box, drawer }) => box && drawer);
  const tell = ({ box, icons }) => icons.forEach((icon) => icon.setAttribute("aria-expanded", String(box.checked)));
  const close = (one) => {
    const inside = one.drawer.contains(document.activeElement) || document.activeElement === document.body;
    one.box.checked = false;
    tell(one);
    if (inside) one.icons.find((icon) => icon.checkVisibility())?.focus();
  };
  for (const one of drawers) {
    for (const icon of one.icons) {
      icon.tabIndex = 0;
      icon.setAttribute("role", "button");
      icon.setAttribute("aria-label", one.words);
      icon.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        icon.click();
        if (one.box.checked) [...one.drawer.querySelectorAll("a, input")].find((node) => node.checkVisibility())?.focus();
      });
    }
    one.box.addEventListener("change", () => tell(one));
    tell(one);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") drawers.filter(({ box }) => box.checked).forEach(close);
  });
})();
