// Learn: what a run wrote along its training, which of its cells are on in a text, and one step in numbers.
import { glyph, inLine, make, percent, spoken } from "/page/signs.js";
import { Curve, Plot } from "./curves.js";
import { call, enter, say } from "./door.js";

const LATER = 200; // milliseconds after the selection has changed
const FURTHEST = 3; // deviations from the usual at which a colour is full
const WIDEST = 4; // at which a bar is
const REMEMBERS = 0.3, FOLLOWS = 0.5; // of a memory, and a correlation, that is worth a word
const BEFORE = 16; // characters that are shown before the one that is read

const find = name => document.querySelector(`.${name}`);
const [chooser, models, area, paint, told, moment, room] = ["chooser", "models", "text", "paint", "told", "moment", "along .plot"].map(find);
const plot = new Plot(room);
let model = "", samples = [], symbols = [], spans = [], standing = [], chosen = "", has = {};

const number = value => value.toLocaleString("en");
const sentence = text => text && `${text[0].toUpperCase()}${text.slice(1)}.`;
const signed = value => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const units = place => symbols.slice(0, place).join("").length;
const placeOf = unit => Array.from(area.value.slice(0, unit)).length;

// `ask`, once at a time: of what is asked meanwhile only the last is.
function latest(ask) {
  let busy = false, next = null;
  return async function go(...asked) {
    if (busy) return void (next = asked);
    busy = true;
    try {
      await ask(...asked);
      told.textContent = "";
    } catch (error) {
      told.textContent = error.message;
    }
    busy = false;
    if (next) {
      const [again, ...more] = [next, next = null];
      go(...again);
    }
  };
}

// ---------------------------------------------------------------------------------- the training
function showMoment() {
  const one = samples[moment.valueAsNumber];
  find("earlier").disabled = moment.valueAsNumber === 0;
  find("later").disabled = moment.valueAsNumber === samples.length - 1;
  if (!one) return;
  const parts = [one.best ? `Best checkpoint, step ${number(one.step)}` : `Step ${number(one.step)}`];
  if (one.characters !== null) parts.push(`${number(Math.round(one.characters))} characters read`);
  const bits = nats => `${nats.toFixed(3)} nats (${(nats / Math.LN2).toFixed(3)} bits)`;
  if (one.training !== null) parts.push(`training loss ${bits(one.training)}`);
  if (one.held_out !== null) parts.push(`${one.best ? "final " : ""}validation loss ${bits(one.held_out)}`);
  find("when").textContent = `${parts.join(" · ")}.`;
  find("sample").textContent = one.text;
  moment.setAttribute("aria-valuetext", parts.join(", "));
  plot.show(one.step);
}
function go(to) {
  moment.value = Math.max(0, Math.min(samples.length - 1, to));
  showMoment();
}
moment.addEventListener("input", showMoment);
find("earlier").addEventListener("click", () => go(moment.valueAsNumber - 1));
find("later").addEventListener("click", () => go(moment.valueAsNumber + 1));
room.addEventListener("click", () => { // the sample nearest to where the curve was pointed at
  if (plot.at === null || !samples.length) return;
  const away = samples.map(one => Math.abs(one.step - plot.at));
  go(away.indexOf(Math.min(...away)));
});
for (const event of ["pointerleave", "blur"]) room.addEventListener(event, showMoment);

// -------------------------------------------------------------------------------------- the text
function showText(text) {
  symbols = Array.from(text);
  spans = symbols.map(symbol => make("i", symbol));
  paint.replaceChildren(...spans);
  if (area.value !== text) area.value = text;
}
function mark(name, start, end) {
  for (const one of paint.querySelectorAll(`.${name}`)) one.classList.remove(name);
  for (const one of spans.slice(start, end)) one.classList.add(name);
}
function colour() {
  const cell = standing.find(one => one.name === chosen);
  find("hues").hidden = !cell;
  find("hue-of").textContent = cell ? `cell ${cell.name}` : "";
  spans.forEach((one, place) => {
    const away = cell ? (cell.values[place] - cell.mean) / Math.max(cell.deviation, 0.02) : 0;
    one.classList.toggle("cold", away < 0);
    one.style.setProperty("--a", (Math.min(Math.abs(away), FURTHEST) / FURTHEST).toFixed(3));
  });
}

// ------------------------------------------------------------------------------------- the cells
const askCells = latest(async (start, end) => {
  const text = symbols.join("");
  const answer = await call("/v1/charloom/cells", { model, text, start, end });
  if (text !== symbols.join("")) return;
  if (answer.text !== text) showText(answer.text);
  standing = answer.cells;
  mark("inside", start, end);
  const words = inLine(symbols.slice(start, end).join(""));
  find("of-span").textContent = `In “${words.length > 60 ? `${words.slice(0, 60)}…` : words}”: ${standing.length} of ${number(answer.of)} cells, those that are farthest from what is usual in ${number(answer.usual)} characters. Numbers are ${answer.shows}.`;
  find("standing").replaceChildren(...standing.map(cellRow));
  find("alike").replaceChildren(...answer.alike.map(place => passage(place, place.begin, place.end, percent(Math.min(1, place.share)))));
  find("alike").previousElementSibling.textContent = answer.alike.length ? "Where the five that stand out most do so together." : "There is no other place where the five that stand out most do so together.";
  find("elsewhere").hidden = false;
  choose(standing[0].name);
});
function cellRow(cell) {
  const item = make("li"), button = make("button"), range = make("span", undefined, "range"), bar = make("u");
  const reach = Math.min(Math.abs(cell.away) / WIDEST, 1) * 50;
  bar.classList.toggle("cold", cell.away < 0);
  bar.style.left = `${cell.away < 0 ? 50 - reach : 50}%`;
  bar.style.width = `${reach}%`;
  range.append(bar);
  range.setAttribute("aria-hidden", "true");
  button.append(make("b", cell.name), range, make("span", `${signed(cell.value)}, usually ${signed(cell.mean)}`));
  const { follows } = cell;
  if (follows && Math.abs(follows.memory) >= REMEMBERS) button.append(make("span", `remembers: ${follows.feature} (memory ${signed(follows.memory)})`, "says"));
  else if (follows && Math.abs(follows.correlation) >= FOLLOWS) button.append(make("span", `follows: ${follows.feature} (correlation ${signed(follows.correlation)})`, "says"));
  button.dataset.cell = cell.name;
  button.addEventListener("click", () => choose(cell.name));
  item.append(button);
  return item;
}
function choose(name) {
  chosen = name;
  for (const button of find("standing").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.cell === name);
  const cell = standing.find(one => one.name === name);
  find("drives-title").textContent = `Where ${name} is ${cell.away < 0 ? "lowest" : "highest"}`;
  find("drives").replaceChildren(...cell.places.map(place => passage(place, place.at, place.at + 1, signed(place.value))));
  colour();
  step();
}
function passage({ line, text }, begin, end, figure) {
  const item = make("li", `line ${number(line)} · ${figure}`), code = make("code"), all = Array.from(text);
  const part = (from, to) => inLine(all.slice(from, to).join(""));
  code.append(part(0, begin), make("mark", part(begin, end)), part(end));
  item.append(code);
  return item;
}

// ---------------------------------------------------------------------------------- the one step
let position = 1; // characters that are read
const askStep = latest(async () => {
  const text = symbols.slice(0, position).join(""), cells = chosen ? [chosen] : [];
  const answer = await call("/v1/charloom/step", { model, text, cells });
  mark("read", position - 1, position);
  const where = find("where"), before = inLine(symbols.slice(Math.max(0, position - 1 - BEFORE), position - 1).join(""));
  where.replaceChildren("It reads ", make("code", glyph(answer.read)), before ? " after " : ", the first of the text", ...before ? [make("code", before)] : [], ` (character ${number(position)} of ${number(symbols.length)}).`);
  find("parts").replaceChildren(...answer.parts.map(showPart));
  find("after-title").textContent = "What comes next";
  find("after").replaceChildren(...answer.likeliest.map(([symbol, p]) => {
    const item = make("li"), share = make("span", undefined, "share"), bar = make("u");
    bar.style.width = `${100 * p}%`;
    share.append(bar);
    item.append(named(symbol), share, make("span", percent(p)));
    return item;
  }));
});
function named(symbol) {
  const code = make("code", glyph(symbol));
  code.title = spoken(symbol);
  return code;
}
const TITLES = { input: "Input", logits: "Output: a number for each character", softmax: "Softmax: numbers into log-probabilities", average: "Several networks: their mean", mixture: "Network and n-grams, mixed" };
const folded = new Set(), opened = new Set(); // titles of parts, by hand
// Of an n-gram model only the longest context is told at first.
function showPart(part, place, parts) {
  const room = make("details"), head = make("summary"), title = make("h3"), list = make("ol");
  const words = TITLES[part.title] || (part.kind === "cells" ? `${part.title[0].toUpperCase()}${part.title.slice(1)}: some of its cells` : part.title[0].toUpperCase() + part.title.slice(1));
  const shorter = part.title.startsWith("after") && parts[place - 1]?.title.startsWith("after");
  const kind = shorter ? "shorter contexts" : part.title.split(" ")[0];
  room.open = opened.has(kind) || (!shorter && !folded.has(kind));
  head.addEventListener("click", () => { // before it is opened, or folded
    (room.open ? folded : opened).add(kind);
    (room.open ? opened : folded).delete(kind);
  });
  title.append(make("span", words), make("code", part.file));
  head.append(title);
  for (const line of part.lines) {
    const item = make("li"), source = make("code", undefined, "source"), numbers = make("dl", undefined, "numbers");
    source.append(make("b", `${line.number}`), line.source);
    const same = line.told.every(one => one.join() === line.told[0].join()) && line.told.length > 1;
    (same ? ["all"] : part.columns).forEach((column, n) => {
      const name = make("dt");
      name.append(part.kind === "cells" || same ? make("span", column) : named(column));
      const says = make("dd");
      line.told[n].forEach((one, gate) => {
        if (gate) says.append(make("br"));
        if (line.gates) says.append(make("span", line.gates[gate], "gate"));
        says.append(one);
      });
      numbers.append(name, says);
    });
    item.append(source, numbers);
    list.append(item);
  }
  room.append(head, list);
  return room;
}
function step() {
  find("back").disabled = position <= 1;
  find("on").disabled = position >= symbols.length;
  if (has.maths && symbols.length) askStep();
}
function walk(by) {
  position = Math.max(1, Math.min(symbols.length, position + by));
  area.setSelectionRange(units(position), units(position));
  step();
}
find("back").addEventListener("click", () => walk(-1));
find("on").addEventListener("click", () => walk(1));

// --------------------------------------------------------------------------------- the selection
let later, seen = "", changed = true;
function look() {
  const [start, end] = [placeOf(area.selectionStart), placeOf(area.selectionEnd)], now = `${start} ${end} ${area.value}`;
  if (now === seen || !symbols.length) return;
  seen = now;
  if (end !== position || changed) {
    position = Math.max(1, end);
    changed = false;
    step();
  }
  if (has.cells && start < end) askCells(start, end);
}
function soon() {
  clearTimeout(later);
  later = setTimeout(look, LATER);
}
document.addEventListener("selectionchange", () => { if (document.activeElement === area) soon(); });
area.addEventListener("select", soon);
area.addEventListener("input", () => {
  showText(area.value);
  changed = true;
  [standing, chosen] = [[], ""];
  colour();
  find("standing").replaceChildren();
  find("elsewhere").hidden = true;
  find("of-span").textContent = "Select a span of the text.";
  soon();
});

// ------------------------------------------------------------------------------------- the model
async function show() {
  model = models.value;
  const answer = await call("/v1/charloom/learn", { model });
  if (model !== models.value) return;
  say(`${answer.kind}, trained on ${answer.text}`);
  samples = answer.samples;
  for (const name of ["scrub", "when", "sample", "prompted"]) find(name).hidden = !samples.length;
  moment.max = Math.max(0, samples.length - 1);
  moment.disabled = samples.length < 2;
  has = { cells: answer.cells === null, maths: answer.maths === null };
  find("first").hidden = answer.networks < 2;
  find("first").textContent = `Of its ${answer.networks} networks, which are read as one, these are the cells and the numbers of the first.`;
  for (const kind of ["cells", "maths"]) {
    find(`no-${kind}`).hidden = has[kind];
    find(`no-${kind}`).textContent = sentence(answer[kind] || "");
    find(`with-${kind}`).hidden = !has[kind];
  }
  find("reading").hidden = !has.cells && !has.maths;
  const text = answer.excerpt?.text || "", of = answer.excerpt?.held_out ? "was held out of its training" : "it learned from";
  const own = answer.excerpt ? `This is the beginning of what ${of}; it can be changed. ` : "Type a text. ";
  find("reading").querySelector("p").textContent = own + (has.cells ? "Select a span to see which cells stand out there. " : "") + (has.maths ? "Put the cursor behind a character to see how it is read." : "");
  [standing, chosen, seen, changed] = [[], "", "", true];
  showText(text);
  colour();
  find("learning").hidden = false;
  const first = text.search(/\s\S{4,}\s/) + 1; // a word to begin with
  const end = first + (/^\S+/.exec(text.slice(first))?.[0].length || Math.min(5, text.length));
  area.setSelectionRange(first, end);
  look();
  const curve = new Curve(model, call);
  await curve.update();
  room.hidden = curve.points.length < 2;
  plot.set([{ name: model, n: 0, points: curve.points }], [], "steps");
  go(samples.length - 1);
}
const choice = latest(show);

models.addEventListener("change", choice);
enter(async () => {
  const listed = (await call("/v1/charloom/models")).data;
  if (!listed.length) return say("There is no run yet that writes characters: train one first.");
  models.replaceChildren(...listed.map(one => {
    const option = make("option", one.id);
    option.value = one.id;
    return option;
  }));
  chooser.hidden = false;
  const asked = new URLSearchParams(location.search).get("model");
  if (listed.some(one => one.id === asked)) models.value = asked;
  choice();
});
