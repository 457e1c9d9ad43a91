// Every page: a switch that opens all code of a notebook, and boxes that scroll by keyboard.
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
    for (const box of boxes) {
      if (box.scrollWidth > box.clientWidth) {
        box.tabIndex = 0;
        if (box.matches("div")) {
          box.setAttribute("role", "region");
          box.setAttribute("aria-label", box.querySelector("caption")?.textContent.trim() || "Wide table");
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
})();
