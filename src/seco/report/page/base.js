"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";
const redraws = [];

/** Make an element; text is only ever set as text. */
function make(name, options = {}, ...children) {
  const node = options.svg ? document.createElementNS(NS, name) : document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "svg" || value === undefined) continue;
    if (key === "text") node.textContent = value;
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A patch of a sprite sheet as a box of its own size. */
function patchBox(sprite, index, size) {
  const column = index % sprite.columns, line = Math.floor(index / sprite.columns);
  return make("span", {
    class: "patch", role: "img", "aria-label": "the patch",
    style: {
      width: size + "px", height: size + "px", backgroundImage: `url(${sprite.uri})`,
      backgroundSize: `${sprite.columns * size}px auto`, backgroundPosition: `${-column * size}px ${-line * size}px`,
    },
  });
}

const tip = document.getElementById("tip");
function showTip(x, y, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), margin = 14;
  const left = x + margin + box.width > innerWidth ? x - margin - box.width : x + margin;
  const top = y + margin + box.height > innerHeight ? y - margin - box.height : y + margin;
  tip.style.left = Math.max(4, Math.min(left, innerWidth - box.width - 4)) + "px";
  tip.style.top = Math.max(4, top) + "px";
}
function hideTip() { tip.hidden = true; }
addEventListener("scroll", hideTip, { passive: true });

(function theme() {
  const root = document.documentElement, button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);
  function told() {
    button.lastElementChild.textContent = isDark() ? "light" : "dark";
    for (const redraw of redraws) redraw();
  }
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; told(); });
  prefers.addEventListener("change", told);
  addEventListener("DOMContentLoaded", told);
  told();
})();

(function contents() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.getAttribute("href").slice(1), a]));
  const sections = [...document.querySelectorAll("main > section")];
  function mark() {
    let here = sections[0];
    for (const s of sections) if (s.getBoundingClientRect().top < innerHeight * 0.35) here = s;
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 4) here = sections[sections.length - 1];
    for (const [id, a] of links) {
      a.classList.toggle("here", here && id === here.id);
      if (here && id === here.id) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
    }
  }
  addEventListener("scroll", mark, { passive: true });
  addEventListener("resize", mark);
  mark();
})();

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      // Without leave to the clipboard, the text is at least selected.
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1600);
  });
}
