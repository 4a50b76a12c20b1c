/** Fit a canvas to its box in real pixels; returns the context in CSS pixels. */
function fitted(canvas, width, height) {
  const ratio = Math.min(3, devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + "px";
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function dot(context, x, y, radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

function closest(xs, ys, x, y, reach, allowed) {
  let best = -1, distance = reach * reach;
  for (let i = 0; i < xs.length; i++) {
    const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
    if (d < distance && (!allowed || allowed(i))) { best = i; distance = d; }
  }
  return best;
}

function degrees(value, positive, negative) {
  return Math.abs(value).toFixed(1) + "° " + (value >= 0 ? positive : negative);
}

function inBox(canvas, e) {
  const box = canvas.getBoundingClientRect();
  return [e.clientX - box.left, e.clientY - box.top];
}

for (const box of document.querySelectorAll(".map")) {
  const map = DATA.maps[+box.dataset.map], points = map.points, hidden = new Set();
  const stage = make("div", { class: "stage" }), canvas = make("canvas", { role: "img", "aria-label": "Map of the places" });
  const land = make("img", { alt: "Land", src: map.land });
  stage.append(land, canvas);
  box.append(stage);
  let xs = [], ys = [], shown = -1;

  function draw() {
    const [west, south, east, north] = map.bounds;
    // Of a small region a degree of longitude is drawn as long as it is in its middle.
    const shrink = east - west < 180 ? Math.cos(((south + north) / 360) * Math.PI) : 1;
    const width = stage.clientWidth, height = (width * (north - south)) / ((east - west) * shrink);
    const context = fitted(canvas, width, height);
    const px = (lon) => ((lon - west) / (east - west)) * width, py = (lat) => ((north - lat) / (north - south)) * height;
    context.fillStyle = cssColour("--shade");
    context.strokeStyle = cssColour("--part-1");
    context.lineWidth = 0.6;
    for (const [w, s, e, n] of map.blocks) {
      context.fillRect(px(w), py(n), px(e) - px(w), py(s) - py(n));
      context.strokeRect(px(w), py(n), px(e) - px(w), py(s) - py(n));
    }
    xs = points.lon.map(px);
    ys = points.lat.map(py);
    const radius = Math.max(1.4, Math.min(3.2, (width / 330) * Math.min(1, 30 / Math.sqrt(xs.length)) + 0.6));
    const colours = map.parts.map((p) => cssColour("--part-" + ["train", "held out", "left out", "unknown"].indexOf(p)));
    context.globalAlpha = 0.9;
    // What was left out lies below, what was held out on top.
    const order = map.parts.map((_, i) => i).sort((a, b) => (map.parts[a] === "left out" ? -1 : 0) - (map.parts[b] === "left out" ? -1 : 0));
    for (const part of order) {
      if (hidden.has(part)) continue;
      for (let i = 0; i < xs.length; i++) if (points.part[i] === part) dot(context, xs[i], ys[i], radius, colours[part]);
    }
    context.globalAlpha = 1;
    if (shown >= 0) {
      context.strokeStyle = cssColour("--ink");
      context.lineWidth = 1.6;
      context.beginPath();
      context.arc(xs[shown], ys[shown], radius + 3.5, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function point(e) {
    const [x, y] = inBox(canvas, e);
    const found = closest(xs, ys, x, y, 14, (i) => !hidden.has(points.part[i]));
    if (found !== shown) { shown = found; draw(); }
    if (found < 0) { hideTip(); return; }
    const words = make("div", {}, make("b", { text: points.name[found] }),
      make("div", { text: `${degrees(points.lat[found], "N", "S")}, ${degrees(points.lon[found], "E", "W")}` }),
      make("div", { text: `${map.parts[points.part[found]]}, ${points.dates[found]} ${points.dates[found] === 1 ? "patch" : "patches"}` }));
    if (points.date && points.date[found]) words.append(make("div", { text: "shown: " + points.date[found] }));
    showTip(e.clientX, e.clientY, ...(map.sprite ? [patchBox(map.sprite, found, 84)] : []), words);
  }
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => { shown = -1; hideTip(); draw(); });

  const legend = make("div", { class: "legend" });
  map.parts.forEach((part, i) => {
    const swatch = make("i", { style: { background: `var(--part-${["train", "held out", "left out", "unknown"].indexOf(part)})` } });
    const button = make("button", { type: "button", "aria-pressed": "true" }, swatch, `${part} (${map.counts[i].toLocaleString("en")})`);
    button.addEventListener("click", () => {
      if (hidden.has(i)) hidden.delete(i); else hidden.add(i);
      button.setAttribute("aria-pressed", String(!hidden.has(i)));
      draw();
    });
    legend.append(button);
  });
  box.append(legend);
  redraws.push(draw);
  new ResizeObserver(draw).observe(stage);
}

function ramp(colours, share) {
  const at = Math.max(0, Math.min(1, share)) * (colours.length - 1), i = Math.min(colours.length - 2, Math.floor(at)), t = at - i;
  const parts = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const a = parts(colours[i]), b = parts(colours[i + 1]);
  return `rgb(${a.map((v, k) => Math.round(v + (b[k] - v) * t)).join(",")})`;
}

for (const box of document.querySelectorAll(".embedding")) {
  const data = DATA.embeddings[+box.dataset.embedding], num = data.place.length;
  let colouring = data.colourings[0] || null, mode = "points", shown = -1, only = -1, colours = [];
  const kept = [];
  const sheet = new Image();
  sheet.addEventListener("load", () => drawAll());
  sheet.src = data.sprite.uri;

  const tools = make("div", { class: "tools" }), chips = make("div", { class: "chips", role: "group", "aria-label": "Colour by" });
  const modes = make("div", { class: "chips", role: "group", "aria-label": "Show as" });
  const panes = make("div", { class: "panes" }), legend = make("div", { class: "key" });
  const tray = make("div", { class: "kept", "aria-live": "polite", text: "Click a point to keep its patch here." });
  tools.append(chips, modes);
  box.append(tools, panes, legend, tray);

  const canvases = data.panels.map((panel) => {
    const canvas = make("canvas", { role: "img", "aria-label": `Embedding of ${panel.label}, ${panel.how}` });
    const pane = make("div", { class: "pane" });
    if (data.named) pane.append(make("h4", { text: panel.label }));
    pane.append(canvas);
    panes.append(pane);
    return canvas;
  });
  const spots = data.panels.map(() => ({ xs: [], ys: [] }));

  function paint() {
    if (!colouring) colours = Array(num).fill(cssColour("--accent"));
    else if (colouring.kind === "classes") colours = colouring.values.map((v) => colouring.classes[v].colour);
    else {
      const span = colouring.high - colouring.low || 1;
      colours = colouring.values.map((v) => ramp(colouring.colours, (v - colouring.low) / span));
    }
    box.dataset.colouring = colouring ? colouring.name : "";
  }

  function dimmed(i) { return only >= 0 && colouring.values[i] !== only; }

  function draw(k) {
    const canvas = canvases[k], panel = data.panels[k], width = canvas.parentNode.clientWidth;
    const height = Math.min(width, data.panels.length > 1 ? 460 : 560), margin = 18;
    const context = fitted(canvas, width, height);
    const xs = panel.x.map((x) => margin + (x / 1000) * (width - 2 * margin));
    const ys = panel.y.map((y) => height - margin - (y / 1000) * (height - 2 * margin));
    spots[k] = { xs, ys };
    const radius = num > 600 ? 3.1 : 4.2;
    const patches = mode === "patches" && sheet.complete && sheet.naturalWidth;
    const taken = new Set(), size = 26, px = data.sprite.px;
    for (const faint of [true, false]) {
      for (let i = 0; i < num; i++) {
        if (dimmed(i) !== faint) continue;
        context.globalAlpha = faint ? 0.13 : patches ? 1 : 0.88;
        if (!patches) { dot(context, xs[i], ys[i], radius, colours[i]); continue; }
        const cell = Math.round(xs[i] / size) + ":" + Math.round(ys[i] / size);
        if (taken.has(cell)) continue;
        taken.add(cell);
        const sx = (i % data.sprite.columns) * px, sy = Math.floor(i / data.sprite.columns) * px;
        context.fillStyle = colours[i];
        context.fillRect(xs[i] - size / 2, ys[i] - size / 2, size, size);
        context.drawImage(sheet, sx, sy, px, px, xs[i] - size / 2 + 2, ys[i] - size / 2 + 2, size - 4, size - 4);
      }
    }
    context.globalAlpha = 0.6;
    if (shown >= 0) {
      // The other days of the place that is pointed at: an encoder that sees through seasons keeps them near.
      context.strokeStyle = cssColour("--ink");
      context.lineWidth = 1;
      for (let i = 0; i < num; i++) {
        if (i === shown || data.place[i] !== data.place[shown]) continue;
        context.beginPath();
        context.moveTo(xs[shown], ys[shown]);
        context.lineTo(xs[i], ys[i]);
        context.stroke();
        context.beginPath();
        context.arc(xs[i], ys[i], radius + 1.5, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    for (const i of new Set([...kept, shown])) {
      if (i < 0) continue;
      context.strokeStyle = cssColour("--ink");
      context.lineWidth = i === shown ? 2 : 1.3;
      context.beginPath();
      context.arc(xs[i], ys[i], radius + 3.5, 0, 2 * Math.PI);
      context.stroke();
    }
  }
  function drawAll() { paint(); canvases.forEach((_, k) => draw(k)); }

  function words(i) {
    const out = [make("b", { text: data.place[i] })];
    for (const text of [data.date[i], data.where[i]]) if (text) out.push(make("div", { text }));
    for (const c of data.colourings) {
      if (c.exact && c.exact[i]) out.push(make("div", { text: `${c.name}: ${c.exact[i]}` }));
    }
    return out;
  }

  function point(k, e) {
    const [x, y] = inBox(canvases[k], e);
    const found = closest(spots[k].xs, spots[k].ys, x, y, 16, (i) => !dimmed(i));
    if (found !== shown) { shown = found; canvases.forEach((_, j) => draw(j)); }
    if (found < 0) hideTip();
    else showTip(e.clientX, e.clientY, patchBox(data.sprite, found, 84), make("div", {}, ...words(found)));
    return found;
  }

  function keep(i) {
    const there = kept.indexOf(i);
    if (there >= 0) kept.splice(there, 1); else kept.unshift(i);
    kept.length = Math.min(kept.length, 12);
    tray.replaceChildren(...kept.map((j) => make("figure", { "data-patch": j }, patchBox(data.sprite, j, 120), make("figcaption", {}, ...words(j)))));
    if (!kept.length) tray.textContent = "Click a point to keep its patch here.";
    canvases.forEach((_, k) => draw(k));
  }

  canvases.forEach((canvas, k) => {
    canvas.addEventListener("pointermove", (e) => point(k, e));
    canvas.addEventListener("pointerleave", () => { shown = -1; hideTip(); canvases.forEach((_, j) => draw(j)); });
    canvas.addEventListener("click", (e) => { const found = point(k, e); if (found >= 0) keep(found); });
  });

  function choose(next) {
    colouring = next;
    only = -1;
    for (const b of chips.children) b.setAttribute("aria-pressed", String(b.textContent === next.name));
    legend.replaceChildren();
    if (next.kind === "classes") {
      legend.className = "legend key";
      next.classes.forEach((c, i) => {
        const amount = next.values.filter((v) => v === i).length;
        const button = make("button", { type: "button", "aria-pressed": "true", title: "show this alone" },
          make("i", { style: { background: c.colour } }), `${c.name} (${amount})`);
        button.addEventListener("click", () => {
          only = only === i ? -1 : i;
          [...legend.children].forEach((b, j) => b.setAttribute("aria-pressed", String(only < 0 || only === j)));
          canvases.forEach((_, k) => draw(k));
        });
        legend.append(button);
      });
    } else {
      legend.className = "ramp key";
      legend.append(next.low + next.unit, make("i", { style: { background: `linear-gradient(90deg, ${next.colours.join(", ")})` } }), next.high + next.unit);
    }
    drawAll();
  }
  for (const c of data.colourings) {
    const button = make("button", { type: "button", "aria-pressed": "false", text: c.name });
    button.addEventListener("click", () => choose(c));
    chips.append(button);
  }
  for (const name of ["points", "patches"]) {
    const button = make("button", { type: "button", "aria-pressed": String(name === mode), text: name });
    button.addEventListener("click", () => {
      mode = name;
      for (const b of modes.children) b.setAttribute("aria-pressed", String(b.textContent === name));
      drawAll();
    });
    modes.append(button);
  }
  redraws.push(drawAll);
  if (colouring) choose(colouring); else drawAll();
  new ResizeObserver(drawAll).observe(panes);
}
