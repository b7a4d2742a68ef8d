// Learning curves as SVG: losses in nats on the left and bits on the right, over what was read, time or steps.

const SVG = "http://www.w3.org/2000/svg", BITS = Math.LN2;
const [STEP, TRAINING, VALIDATION] = [0, 3, 4]; // places in a point
const AXES = { steps: STEP, characters: 1, seconds: 2 };
const UNITS = { steps: "steps", characters: "characters read", seconds: "time" };
const ROW = 14; // pixels
export const COLOURS = 6, DASHES = ["", "7 3", "2 3"];

const make = (name, attributes = {}, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

// The look of the n-th curve: one of six colours, then the same dashed.
export function paint(line, n) {
  line.setAttribute("class", `series-${n % COLOURS}`);
  line.setAttribute("stroke-dasharray", DASHES[Math.floor(n / COLOURS) % DASHES.length]);
}

export function short(number) {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(number) >= size) return `${+(number / size).toPrecision(3)}${letter}`;
  return `${+number.toPrecision(3)}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds), [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = n => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// At most so many round numbers from low to high.
function ticks(low, high, most) {
  const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(n => n * power >= rough * 0.999) * power, found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(+(n * step).toPrecision(12));
  return found;
}

function timeTicks(low, high, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const step = steps.find(n => (high - low) / n <= most);
  if (!step) return ticks(low, high, most);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  return found;
}

export class Plot {
  // room: an element that the plot fills.
  constructor(room) {
    this.room = room;
    room.tabIndex = 0;
    room.setAttribute("role", "group");
    this.svg = make("svg", { "aria-hidden": "true" });
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.setAttribute("role", "status");
    this.tip.hidden = true;
    room.append(this.svg, this.tip);
    this.series = [];
    this.levels = [];
    this.axis = "characters";
    this.at = null; // the place on the axis that is shown
    new ResizeObserver(() => this.draw()).observe(room);
    room.addEventListener("pointermove", event => this.point(event.clientX - this.svg.getBoundingClientRect().left));
    room.addEventListener("pointerdown", event => this.point(event.clientX - this.svg.getBoundingClientRect().left));
    room.addEventListener("pointerleave", () => this.show(null));
    room.addEventListener("blur", () => this.show(null));
    room.addEventListener("keydown", event => this.key(event));
  }

  // series: [{ name, n, points }], n the number of its colour; levels: [{ name, nats }].
  set(series, levels, axis = this.axis) {
    Object.assign(this, { series, levels, axis });
    this.draw();
  }

  draw() {
    const width = this.room.clientWidth, height = Math.round(Math.min(340, Math.max(230, width * 0.5)));
    if (!width) return;
    const column = AXES[this.axis], { svg } = this;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    this.box = { left: 38, right: width - 38, top: 10, bottom: height - 40 };
    const { left, right, top, bottom } = this.box;
    const lines = this.series.map(one => ({ ...one, points: one.points.filter(point => point[column] != null) }));
    this.lines = lines;
    const xs = lines.flatMap(line => line.points.map(point => point[column]));
    const held = lines.flatMap(line => line.points.map(point => point[VALIDATION]).filter(y => y != null));
    const learned = lines.flatMap(line => line.points.map(point => point[TRAINING]).filter(y => y != null)).sort((a, b) => a - b);
    const ys = [...held, ...this.levels.map(level => level.nats)];
    if (learned.length) ys.push(learned[0], learned[Math.floor(0.97 * (learned.length - 1))]);
    this.room.setAttribute("aria-label", this.words());
    svg.replaceChildren();
    if (!xs.length || !ys.length) {
      svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "There is nothing to draw yet."));
      this.show(null);
      return;
    }
    let [low, high] = [Math.min(...ys), ys.reduce((a, b) => Math.max(a, b))];
    const room = Math.max(0.02, 0.06 * (high - low));
    [low, high] = [Math.max(0, low - room), high + room];
    const last = xs.reduce((a, b) => Math.max(a, b), 0) || 1;
    const x = this.x = value => left + (right - left) * value / last;
    const y = this.y = value => bottom - (bottom - top) * (value - low) / (high - low);
    const grid = make("g", { class: "grid" }), labels = make("g", { class: "labels" });
    for (const nats of ticks(low, high, 7)) {
      grid.append(make("line", { x1: left, x2: right, y1: y(nats), y2: y(nats) }));
      labels.append(make("text", { x: left - 6, y: y(nats) + 4, "text-anchor": "end" }, `${nats}`));
    }
    for (const bits of ticks(low / BITS, high / BITS, 7))
      labels.append(make("text", { x: right + 6, y: y(bits * BITS) + 4 }, `${bits}`));
    const few = Math.max(2, Math.floor((right - left) / 90));
    for (const place of (this.axis === "seconds" ? timeTicks : ticks)(0, last, few)) {
      grid.append(make("line", { x1: x(place), x2: x(place), y1: bottom, y2: bottom + 4 }));
      const label = this.axis === "seconds" ? duration(place) : short(place);
      labels.append(make("text", { x: x(place), y: bottom + 17, "text-anchor": "middle" }, label));
    }
    labels.append(make("text", { x: left - 6, y: height - 6, "text-anchor": "end" }, "nats"));
    labels.append(make("text", { x: right + 6, y: height - 6 }, "bits"));
    labels.append(make("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, UNITS[this.axis]));
    const clip = make("clipPath", { id: "within" });
    clip.append(make("rect", { x: left, y: top, width: right - left + 6, height: bottom - top }));
    const curves = make("g", { class: "curves", "clip-path": "url(#within)" });
    let above = -Infinity; // where the name of the level before is: the next is below its own line
    for (const level of [...this.levels].sort((a, b) => b.nats - a.nats)) {
      const at = y(level.nats), place = at - 4 < above + ROW ? at + ROW - 2 : at - 4;
      above = place;
      curves.append(make("line", { class: "level", x1: left, x2: right, y1: at, y2: at }));
      const name = make("text", { class: "level", x: right - 4, y: place, "text-anchor": "end" }, level.name);
      labels.append(name);
    }
    for (const line of lines) {
      for (const [place, kind] of [[TRAINING, "thin"], [VALIDATION, "thick"]]) {
        const points = line.points.filter(point => point[place] != null);
        if (!points.length) continue;
        const path = make("path", { d: points.map((point, n) => `${n ? "L" : "M"}${x(point[column]).toFixed(1)} ${y(point[place]).toFixed(1)}`).join("") });
        paint(path, line.n);
        path.classList.add(kind);
        curves.append(path);
        if (kind === "thick") {
          const best = points.reduce((a, b) => b[VALIDATION] < a[VALIDATION] ? b : a);
          const ring = make("circle", { cx: x(best[column]), cy: y(best[VALIDATION]), r: 4.5 });
          ring.setAttribute("class", `series-${line.n % COLOURS} ring`);
          curves.append(ring);
        }
      }
    }
    this.cursor = make("line", { class: "cursor", y1: top, y2: bottom });
    svg.append(clip, grid, curves, labels, this.cursor);
    this.show(this.at);
  }

  // What a screen reader says of the plot.
  words() {
    const told = this.series.map(({ name, points }) => {
      const held = points.map(point => point[VALIDATION]).filter(y => y != null);
      const losses = held.length ? held : points.map(point => point[TRAINING]).filter(y => y != null);
      if (!losses.length) return `${name}: no loss yet`;
      const kind = held.length ? "validation" : "training", lowest = losses.reduce((a, b) => Math.min(a, b));
      return `${name}: ${kind} loss from ${losses[0].toFixed(3)} to ${losses.at(-1).toFixed(3)} nats, lowest ${lowest.toFixed(3)}`;
    });
    const levels = this.levels.map(({ name, nats }) => `${name}: ${nats.toFixed(3)} nats`);
    return `Learning curves. ${[...told, ...levels].join(". ") || "None is chosen"}.`;
  }

  places() {
    const column = AXES[this.axis];
    return [...new Set((this.lines || []).flatMap(line => line.points.map(point => point[column])))].sort((a, b) => a - b);
  }

  point(pixels) {
    if (!this.x) return;
    const places = this.places();
    if (!places.length) return;
    this.show(places.reduce((a, b) => Math.abs(this.x(b) - pixels) < Math.abs(this.x(a) - pixels) ? b : a));
  }

  key(event) {
    const places = this.places(), now = this.at === null ? places.length : places.indexOf(this.at);
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: places.length - 1 };
    if (event.key === "Escape") this.show(null);
    if (!(event.key in moves) || !places.length) return;
    event.preventDefault();
    this.show(places[Math.max(0, Math.min(places.length - 1, moves[event.key]))]);
  }

  // Figures at a place, null for none.
  show(place) {
    this.at = place;
    const none = place === null || !this.lines?.some(line => line.points.length);
    this.tip.hidden = none;
    this.cursor?.setAttribute("visibility", none ? "hidden" : "visible");
    if (none) return;
    const column = AXES[this.axis], rows = [];
    for (const line of this.lines) {
      const near = line.points.reduce((a, b) => !a || Math.abs(b[column] - place) < Math.abs(a[column] - place) ? b : a, null);
      if (!near) continue;
      const last = line.points.at(-1);
      if (place > last[column] && near === last && this.lines.length > 1) continue;
      const before = line.points.filter(point => point[column] <= place && point[VALIDATION] != null).at(-1);
      const parts = [];
      if (before) parts.push(`validation ${both(before[VALIDATION])}`);
      if (near[TRAINING] != null) parts.push(`training ${both(near[TRAINING])}`);
      rows.push({ line, text: `${line.name}: ${parts.join(", ") || "no loss"} at step ${near[STEP].toLocaleString("en")}` });
    }
    this.tip.replaceChildren(...rows.map(({ line, text }) => {
      const row = document.createElement("div"), sign = make("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" });
      const stroke = make("line", { x1: 1, y1: 5, x2: 21, y2: 5 });
      paint(stroke, line.n);
      sign.append(stroke);
      row.append(sign, text);
      return row;
    }));
    const at = this.x(place);
    this.cursor.setAttribute("x1", at);
    this.cursor.setAttribute("x2", at);
  }
}

const both = nats => `${nats.toFixed(3)} (${(nats / BITS).toFixed(3)} bits)`;

// The points of a run that the server has, kept up to date by what is new.
export class Curve {
  constructor(name, call) {
    Object.assign(this, { name, call, points: [], cursor: "" });
  }

  async update() {
    const path = this.name.split("/").map(encodeURIComponent).join("/");
    const told = await this.call(`/v1/charloom/curves/${path}?since=${this.cursor}`);
    this.points = told.whole ? told.points : [...this.points, ...told.points];
    this.cursor = told.cursor;
    return told.whole || told.points.length > 0;
  }
}
