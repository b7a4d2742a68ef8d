// The runs of a folder: a table, their learning curves on one plot, names, and the trash.
import { call, enter, say } from "./door.js";
import { Curve, Plot, duration, paint, short } from "./curves.js";

const AT_ONCE = 4; // curves that are shown at first
const EVERY = 1500, SELDOM = 6000; // milliseconds between two looks: while something trains, and else
const find = selector => document.querySelector(selector);
const [list, shared, trash] = [".runs", ".shared", ".trash"].map(find);
const [body, blank, sort, axis, done] = ["tbody", ".row", ".sort", ".axis", ".done"].map(find);
const plot = new Plot(shared.querySelector(".plot"));
const shown = new Map(); // by run: the row of the table and all that belongs to it
const levels = new Map(); // by what is held out: losses of simple models
let rows = [], order = { by: "name", down: false }, colours = 0, timer = 0, moved = "";

const path = name => name.split("/").map(encodeURIComponent).join("/");
const words = {
  name: row => row.id, model: row => row.model, state: row => row.state,
  parameters: row => row.parameters, nats: row => row.nats, last_trained: row => row.last_trained && -row.last_trained,
};

async function look() {
  clearTimeout(timer);
  if (!document.hidden) await show(await call("/v1/charloom/runs"));
  again();
}

function again() {
  clearTimeout(timer);
  timer = setTimeout(() => look().catch(trouble), rows.some(row => row.state === "training") ? EVERY : SELDOM);
}

// What went wrong is said once; the next look may find that it is over.
function trouble(error) {
  say(error.message);
  again();
}

async function show(told) {
  rows = told.data;
  const first = !shown.size;
  for (const row of rows) if (!shown.has(row.id)) enlist(row);
  for (const [id, one] of shown) if (!rows.some(row => row.id === id)) {
    one.element.remove();
    shown.delete(id);
  }
  if (first) choose();
  for (const row of rows) fill(row);
  arrange();
  showTrash(told);
  list.hidden = !rows.length;
  const training = rows.filter(row => row.state === "training").map(row => row.id);
  say(rows.length ? `${rows.length} ${rows.length === 1 ? "run" : "runs"}${training.length ? `; ${training.join(", ")} ${training.length === 1 ? "is" : "are"} being trained` : ""}`
    : "There is no run yet: Train makes one of a text.");
  await draw();
}

// A row for a run that was not there before.
function enlist(row) {
  const element = blank.content.firstElementChild.cloneNode(true), at = selector => element.querySelector(selector);
  const one = { element, curve: new Curve(row.id, call), n: colours++, stamp: "" };
  shown.set(row.id, one);
  at(".name").textContent = row.id;
  at(".name").href = `/?model=${encodeURIComponent(row.id)}`;
  at(".toggle .unseen").textContent = `Show the curve of ${row.id}`;
  paint(at(".toggle line"), one.n);
  at("input[type=checkbox]").addEventListener("change", () => draw().catch(trouble));
  const form = at(".rename"), field = at(".rename input"), change = at(".change");
  const edit = open => {
    form.hidden = !open;
    at(".name").hidden = open;
    change.hidden = open;
    if (open) {
      field.value = row.id.split("/").at(-1);
      field.select();
    } else change.focus();
  };
  change.setAttribute("aria-label", `Rename ${row.id}`);
  at(".delete").setAttribute("aria-label", `Delete ${row.id}`);
  at(".go-on").setAttribute("aria-label", `Train ${row.id} on`);
  at(".go-on").href = `/train?run=${encodeURIComponent(row.id)}`;
  change.addEventListener("click", () => edit(true));
  at(".cancel").addEventListener("click", () => edit(false));
  form.addEventListener("keydown", event => event.key === "Escape" && edit(false));
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const name = field.value.trim();
    if (name === row.id.split("/").at(-1)) return edit(false);
    const checked = at("input[type=checkbox]").checked;
    await attempt(async () => {
      const told = await call(`/v1/charloom/runs/${path(row.id)}`, { name });
      const now = [...row.id.split("/").slice(0, -1), name].join("/");
      await show(told);
      const renamed = shown.get(now)?.element;
      if (renamed) renamed.querySelector("input[type=checkbox]").checked = checked;
      renamed?.querySelector(".change").focus();
      tell(`${row.id} is now called ${now}.`);
      await draw();
    });
  });
  at(".delete").addEventListener("click", () => attempt(async () => {
    const told = await call(`/v1/charloom/runs/${path(row.id)}`, undefined, "DELETE");
    await show(told);
    tell(`${row.id} is in the trash: ${told.trash_folder}/${told.moved}`, told.moved);
  }));
}

async function attempt(change) {
  try {
    await change();
  } catch (error) {
    tell(error.message);
  }
}

// Say what has been done, with a button that takes it back if it was a deletion.
function tell(text, from = "") {
  done.querySelector("span").textContent = text;
  done.querySelector(".undo").hidden = !from;
  moved = from;
  if (from) done.querySelector(".undo").focus();
}

const putBack = name => attempt(async () => {
  await show(await call(`/v1/charloom/trash/${path(name)}`, {}));
  tell(`${name} is back.`);
});

// Of many runs, show the curves of those that were trained last.
function choose() {
  const newest = rows.filter(row => row.steps > 0).sort((a, b) => b.last_trained - a.last_trained);
  for (const row of newest.slice(0, AT_ONCE)) shown.get(row.id).element.querySelector("input[type=checkbox]").checked = true;
}

function fill(row) {
  const { element } = shown.get(row.id), set = (selector, text) => {
    const place = element.querySelector(selector);
    if (place.textContent !== text) place.textContent = text;
  };
  element.classList.toggle("damaged", row.state === "damaged");
  const damaged = row.state === "damaged";
  set(".of", damaged ? row.error : row.text);
  set(".model", row.model || "");
  set(".parameters", row.parameters ? short(row.parameters) : "");
  const mark = { memory: "of memory", training: "of training" }[row.measured] || (row.provisional ? "so far" : "");
    set(".figure", row.nats == null ? "" : row.nats.toFixed(3));
  set(".mark", mark);
  set(".bits", row.bits == null ? "" : row.bits.toFixed(3));
  set(".state", row.state);
  element.querySelector(".state").dataset.state = row.state;
  const time = element.querySelector("time");
  if (row.last_trained) {
    const when = new Date(1000 * row.last_trained);
    time.dateTime = when.toISOString();
    time.title = when.toLocaleString();
    set("time", row.state === "training" ? "now" : ago(Date.now() / 1000 - row.last_trained));
  }
  element.querySelector(".toggle input").disabled = damaged || !row.steps;
  element.querySelector(".go-on").hidden = damaged || row.state === "imported" || row.state === "training";
  for (const name of ["change", "delete"]) element.querySelector(`.${name}`).disabled = !row.movable || row.state === "training";
}

function ago(seconds) {
  for (const [size, unit] of [[86400 * 365, "year"], [86400 * 30, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const n = Math.floor(seconds / size);
    if (n >= 1) return `${n} ${unit}${n === 1 ? "" : "s"}`;
  }
  return "just now";
}

// Bring the rows into the order that is asked for; what has no such figure comes last.
function arrange() {
  const key = words[order.by], sign = order.down ? -1 : 1;
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x == null || y == null) return (x == null) - (y == null) || a.id.localeCompare(b.id);
    const found = typeof x === "string" ? x.localeCompare(y) : x - y;
    return sign * found || a.id.localeCompare(b.id);
  });
  const focus = document.activeElement, elements = sorted.map(row => shown.get(row.id).element);
  if (elements.some((element, n) => body.children[n] !== element)) {
    body.append(...elements);
    if (body.contains(focus)) focus.focus();
  }
  for (const head of document.querySelectorAll("th[data-by]")) {
    if (head.dataset.by === order.by) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  sort.value = order.by;
}

function showTrash({ trash: names, trash_folder: folder }) {
  trash.hidden = !names.length;
  trash.querySelector(".where").textContent = `Deleted runs are in ${folder}. To free their space, delete them there.`;
  const ul = trash.querySelector("ul");
  if (ul.dataset.names === JSON.stringify(names)) return;
  ul.dataset.names = JSON.stringify(names);
  ul.replaceChildren(...names.map(name => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = "Put back";
    button.setAttribute("aria-label", `Put ${name} back`);
    button.addEventListener("click", () => putBack(name));
    item.append(`${name} `, button);
    return item;
  }));
}

// Fetch what is new of the curves that are chosen, and draw them.
async function draw() {
  const chosen = rows.filter(row => shown.get(row.id).element.querySelector("input[type=checkbox]").checked);
  shared.hidden = !rows.some(row => row.steps > 0);
  const troubles = [];
  await Promise.all(chosen.map(async row => {
    const one = shown.get(row.id), stamp = `${row.state} ${row.steps} ${row.last_trained}`;
    if (row.state !== "training" && one.stamp === stamp) return;
    try {
      await one.curve.update();
      one.stamp = stamp;
    } catch (error) {
      troubles.push(error.message);
    }
  }));
  if (troubles.length) say(troubles[0]);
  const texts = new Set(chosen.map(row => row.held_out)), [text] = texts;
  const known = texts.size === 1 ? levels.get(text) || [] : [];
  plot.set(chosen.map(row => ({ name: row.id, n: shown.get(row.id).n, points: shown.get(row.id).curve.points })), known, axis.value);
  find(".notes").textContent = new Set(rows.filter(row => row.nats != null).map(row => row.held_out)).size > 1
    ? "Losses compare only where the text, and what is held out of it, is the same." : "";
  if (texts.size === 1 && text && !levels.has(text)) measure(chosen, text);
}

// Ask what simple models reach on the text of the curves that are shown.
async function measure(chosen, text) {
  levels.set(text, []);
  const ended = chosen.find(row => row.state === "complete") || chosen[0];
  const told = await call(`/v1/charloom/levels/${path(ended.id)}`).catch(() => ({ data: [] }));
  levels.set(text, told.data);
  if (told.data.length) await draw();
}

function by(name) {
  order = { by: name, down: order.by === name && !order.down };
  arrange();
}

for (const head of document.querySelectorAll("th[data-by]"))
  head.querySelector("button").addEventListener("click", () => by(head.dataset.by));
sort.addEventListener("change", () => {
  order = { by: sort.value, down: false };
  arrange();
});
axis.addEventListener("change", () => draw().catch(trouble));
find(".undo").addEventListener("click", () => putBack(moved));
document.addEventListener("visibilitychange", () => document.hidden || look().catch(trouble));
enter(look);
