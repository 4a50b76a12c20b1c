const DASHES = ["", "5 3", "1.5 3.5", "9 3 2 3", "3 2", "12 4"];
const NUM_COLOURS = 8;

function niceTicks(low, high, wanted) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / wanted, power = 10 ** Math.floor(Math.log10(raw));
  // Rather a few ticks more than wanted than two alone.
  const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.7) * power;
  const ticks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) ticks.push(+v.toPrecision(12));
  return ticks;
}

function said(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return (100 * value).toFixed(1) + "%";
  const size = Math.abs(value);
  if (size && (size < 0.001 || size >= 1e7)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
}

function mark(line) {
  const svg = make("svg", { svg: true, viewBox: "0 0 20 8", "aria-hidden": "true" });
  svg.append(make("path", {
    svg: true, d: "M0 4H20", class: "k" + (line.colour % NUM_COLOURS), "stroke-width": 2.4, fill: "none",
    "stroke-dasharray": DASHES[line.dash % DASHES.length],
  }));
  return svg;
}

for (const figure of document.querySelectorAll(".chart")) {
  const chart = DATA.charts[+figure.dataset.chart], plot = figure.querySelector(".plot");
  const hidden = new Set();
  const steps = [...new Set(chart.lines.flatMap((l) => l.x))].sort((a, b) => a - b);
  let scale = null, at = null;

  function draw() {
    const width = Math.max(220, plot.clientWidth), height = 210, right = 8, top = 8, bottom = 26;
    const lines = chart.lines.filter((_, i) => !hidden.has(i));
    const values = lines.flatMap((l) => l.y).filter((v) => v !== null);
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) { low = 0; high = 1; }
    if (chart.unit === "percent") { low = 0; high = Math.min(1, Math.max(0.1, high * 1.08)); }
    else {
      if (low > 0 && low < high * 0.6) low = 0;
      const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
      high += pad;
      if (low !== 0) low -= pad;
    }
    const ticks = niceTicks(low, high, 4);
    const labels = ticks.map((tick) => (chart.unit === "percent" ? +(tick * 100).toFixed(1) + "%" : said(tick)));
    const left = 14 + 6.6 * Math.max(3, ...labels.map((t) => t.length));
    const first = steps[0], last = steps[steps.length - 1];
    const from = first === last ? first - 1 : Math.min(first, first > 0 && first < last * 0.2 ? 0 : first);
    const until = first === last ? last + 1 : last;
    const px = (x) => left + ((x - from) / (until - from)) * (width - left - right);
    const py = (y) => height - bottom - ((y - low) / (high - low)) * (height - top - bottom);
    scale = { px, py, left, right, top, bottom, width, height };
    const svg = make("svg", {
      svg: true, viewBox: `0 0 ${width} ${height}`, height, tabindex: "0", role: "img",
      "aria-label": `${chart.title}; arrow keys read the values`,
    });
    ticks.forEach((tick, i) => {
      svg.append(make("line", { svg: true, class: "grid", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }));
      svg.append(make("text", { svg: true, x: left - 7, y: py(tick) + 4, "text-anchor": "end", text: labels[i] }));
    });
    niceTicks(from, until, Math.max(2, Math.floor(width / 110))).filter(Number.isInteger).forEach((tick, i) => {
      const end = px(tick) > width - 24;
      const text = (i ? "" : "step ") + tick.toLocaleString("en");
      svg.append(make("text", { svg: true, x: end ? width - right : px(tick), y: height - 8, "text-anchor": end ? "end" : "middle", text }));
    });
    for (const line of lines) {
      let d = "", pen = false;
      line.x.forEach((x, i) => {
        const y = line.y[i];
        if (y === null) { pen = false; return; }
        d += `${pen ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
        pen = true;
      });
      const colour = "k" + (line.colour % NUM_COLOURS);
      svg.append(make("path", { svg: true, d, class: colour, "stroke-dasharray": DASHES[line.dash % DASHES.length] }));
      if (line.x.length < 16) {
        line.x.forEach((x, i) => {
          if (line.y[i] !== null) svg.append(make("circle", { svg: true, cx: px(x), cy: py(line.y[i]), r: 2.4, class: colour }));
        });
      }
    }
    svg.append(make("g", { svg: true, class: "hover" }));
    svg.addEventListener("pointermove", (e) => {
      const box = svg.getBoundingClientRect();
      point(nearest((e.clientX - box.left) * (width / box.width)), e.clientX, e.clientY);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (e) => {
      if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
      e.preventDefault();
      const now = at === null ? -1 : steps.indexOf(at);
      const next = Math.max(0, Math.min(steps.length - 1, now + (e.key === "ArrowRight" ? 1 : -1)));
      const box = svg.getBoundingClientRect();
      point(steps[next], box.left + px(steps[next]), box.top + 20);
    });
    plot.replaceChildren(svg);
  }

  function nearest(x) {
    return steps.reduce((best, s) => (Math.abs(scale.px(s) - x) < Math.abs(scale.px(best) - x) ? s : best), steps[0]);
  }

  function point(step, x, y) {
    at = step;
    const group = plot.querySelector(".hover");
    group.replaceChildren(make("line", { svg: true, class: "cursor", x1: scale.px(step), x2: scale.px(step), y1: scale.top, y2: scale.height - scale.bottom }));
    const rows = [];
    chart.lines.forEach((line, i) => {
      const where = line.x.indexOf(step);
      if (hidden.has(i) || where < 0) return;
      const value = line.y[where], colour = line.colour % NUM_COLOURS;
      if (value !== null) group.append(make("circle", { svg: true, cx: scale.px(step), cy: scale.py(value), r: 4, class: "k" + colour }));
      const name = make("span", {}, make("i", { style: { background: `var(--c${colour})` } }), line.name);
      rows.push(make("div", { class: "pair" }, name, make("b", { text: said(value, chart.unit) })));
    });
    showTip(x, y, make("div", {}, make("b", { text: "step " + step.toLocaleString("en") }), ...rows));
  }

  function leave() {
    at = null;
    hideTip();
    plot.querySelector(".hover")?.replaceChildren();
  }

  if (chart.lines.length > 1) {
    const legend = make("div", { class: "legend" });
    chart.lines.forEach((line, i) => {
      const button = make("button", { type: "button", "aria-pressed": "true" }, mark(line), line.name);
      button.addEventListener("click", () => {
        if (hidden.has(i)) hidden.delete(i); else hidden.add(i);
        button.setAttribute("aria-pressed", String(!hidden.has(i)));
        draw();
      });
      legend.append(button);
    });
    figure.append(legend);
  }
  new ResizeObserver(draw).observe(plot);
  draw();
}
