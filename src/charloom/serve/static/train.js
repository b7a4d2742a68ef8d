// A text is dropped, checked and learned from: what the server's training does, as it does it.
import { call, enter, say } from "./door.js";
import { Curve, Plot, duration } from "./curves.js";

const LARGEST = 2 ** 28; // bytes of a text, as in serve/guard.py
const EVERY = 1000, SELDOM = 5000; // milliseconds between two looks: while something goes on, and else
const find = selector => document.querySelector(selector);
const [source, plan, live] = [".source", ".plan", ".live"].map(find);
const [drop, file, chosen, found, form, minutes, name, hint] =
  [".drop", ".drop input", ".chosen", ".found", ".begin", ".minutes", ".name", ".hint"].map(find);
const plot = new Plot(live.querySelector(".plot"));
let run = new URLSearchParams(location.search).get("run"); // that is to be trained on, if one is
let told = {}, sending = "", shownText = "", named = "", curve = null, timer = 0;
let complaint = ""; // what went wrong, until something else is done
let fresh = false; // a new training is begun, whatever was trained before

async function look() {
  clearTimeout(timer);
  if (!document.hidden) await show(await call("/v1/charloom/training"));
  again();
}

function again() {
  clearTimeout(timer);
  timer = setTimeout(() => look().catch(trouble), busy() || told.text?.state === "checking" ? EVERY : SELDOM);
}

function trouble(error) {
  say(error.message);
  again();
}

// What `charloom check` advises, as options of `charloom train`.
const cures = form.querySelectorAll(".cures input"), option = cure => `--${cure.className.replace("_", "-")}`;

const busy = () => ["starting", "training", "stopping"].includes(told.training?.state);

async function attempt(change) {
  complaint = "";
  try {
    await change();
    again();
  } catch (error) {
    complain(error.message);
  }
}

function complain(words) {
  complaint = words;
  say(words);
}

async function show(answer) {
  told = answer;
  const { text, training, folder } = told;
  if (busy()) fresh = false;
  const isLive = training && !fresh && !(run && !busy());
  source.hidden = isLive || !!run || folder === null;
  plan.hidden = isLive || (!run && !["checking", "checked"].includes(text?.state));
  live.hidden = !isLive;
  if (complaint) say(complaint);
  else if (folder === null && !isLive) say("There is no folder for new runs here: charloom open FOLDER has one.");
  else say(isLive || run || text ? "" : `New runs go into the folder ${folder}.`);
  if (!source.hidden) showText(text);
  if (!plan.hidden) showPlan(text);
  if (isLive) await showTraining(training);
}

function showText(text) {
  drop.hidden = !!text || !!sending;
  chosen.hidden = !text && !sending;
  chosen.querySelector("b").textContent = sending || text?.name || "";
  chosen.querySelector("span").textContent = sending ? "is being sent" : text ? size(text.bytes) : "";
  chosen.querySelector(".other").hidden = !!sending;
  const stamp = text ? text.id + text.state : "";
  if (stamp === shownText) return;
  shownText = stamp;
  found.replaceChildren(...(text ? findings(text) : []));
  if (!text || text.id === named) return;
  named = text.id;
  for (const cure of cures) cure.checked = false;
  name.value = text.name.replace(/\.[^.]{1,7}$/, "");
}

function findings(text) {
  if (text.state === "checking") return [element("p", "Checking it: what is in it, what is there twice, how fast this machine learns from it …", "faint")];
  if (text.state === "unreadable") return [element("p", text.error, "why")];
  const list = document.createElement("dl"), advice = document.createElement("ul");
  for (const [label, value] of text.figures) list.append(element("dt", label), element("dd", value));
  advice.append(...text.advice.map(line => element("li", line)));
  advice.className = "advice";
  return [text.advice.length ? advice : element("p", "Nothing in it needs mending before a training."), list];
}

function showPlan(text) {
  find("#plan-title").textContent = run ? `Train ${run} on` : "Training";
  form.querySelector(".go").textContent = run ? "Train on" : "Train";
  const isChecked = run || text.state === "checked", isTooShort = isChecked && !run && !text.trainable;
  form.querySelector(".go").disabled = isTooShort;
  name.parentElement.hidden = !!run;
  minutes.required = !run;
  if (!run && !minutes.value) minutes.value = "3";
  for (const cure of cures) cure.parentElement.hidden = !!run || !isChecked || !text.advice.some(line => line.includes(option(cure)));
  hint.textContent = run
    ? "With minutes it is trained for so long from now; without, it goes on to where it was to end."
    : isTooShort ? "There is too little of it to train on."
    : `The model and its settings are chosen for this machine and so many minutes. The run will be in the folder ${told.folder}.${isChecked ? "" : " You need not wait for the check; it ends when training begins."}`;
}

async function showTraining(training) {
  const { state, minutes: asked, seconds, elapsed } = training;
  const words = { starting: "is starting", training: "is learning", stopping: "is saving", stopped: "has been stopped", finished: "is ready", failed: "could not be trained" };
  const title = `${training.run} ${words[state]}`;
  if (find("#live-title").textContent !== title) find("#live-title").textContent = title;
  const share = state === "finished" ? 1 : asked ? Math.min(1, seconds / (60 * asked)) : 0;
  const bar = live.querySelector(".bar");
  bar.setAttribute("aria-valuenow", Math.round(100 * share));
  bar.firstElementChild.style.width = `${100 * share}%`;
  bar.hidden = state === "failed" || !asked;
  if (curve?.name !== training.run) curve = new Curve(training.run, call);
  if (training.saved) await curve.update(); // else there may be no run yet
  const newest = curve.points.at(-1), held = curve.points.filter(point => point[4] != null).at(-1);
  const parts = [];
  if (state === "failed") parts.push(training.error);
  else if (state === "starting") parts.push(lastLine(training.said) || "reading the text");
  else if (asked) parts.push(`${duration(Math.min(seconds, 60 * asked))} of ${duration(60 * asked)}`);
  else parts.push(duration(elapsed));
  if (newest && state !== "starting" && state !== "failed") {
    parts.push(`step ${newest[0].toLocaleString("en")}`);
    if (held) parts.push(`validation loss ${held[4].toFixed(3)} nats (${(held[4] / Math.LN2).toFixed(3)} bits) per character`);
    else if (newest[3] != null) parts.push(`training loss ${newest[3].toFixed(3)} nats (${(newest[3] / Math.LN2).toFixed(3)} bits) per character`);
  }
  set(".now", parts.join(" · "));
  live.querySelector(".now").classList.toggle("why", state === "failed");
  live.querySelector(".stop").hidden = !busy();
  live.querySelector(".stop").disabled = state === "stopping";
  live.querySelector(".resume").hidden = !((state === "stopped" || state === "failed") && training.saved);
  live.querySelector(".fresh").hidden = busy();
  live.querySelector(".write").hidden = !training.saved;
  live.querySelector(".write").href = `/?model=${encodeURIComponent(training.run)}`;
  live.querySelector(".what").hidden = !busy();
  live.querySelector(".elsewhere").hidden = training.process === null;
  live.querySelector(".log").hidden = !training.said;
  const level = told.text?.ngram ? [{ name: told.text.ngram.name, nats: told.text.ngram.nats }] : [];
  plot.room.hidden = !curve.points.length;
  plot.set([{ name: training.run, n: 0, points: curve.points }], level, "seconds");
  const written = live.querySelector(".written"), sample = training.sample;
  written.hidden = !sample;
  if (sample) {
    set(".written figcaption", sample.step === null ? "What the best checkpoint writes" : `What it writes at step ${sample.step.toLocaleString("en")}`);
    set(".written pre", sample.text);
  }
  set(".log pre", training.said);
}

function set(selector, text) {
  const place = live.querySelector(selector);
  if (place.textContent !== text) place.textContent = text;
}

function element(tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

const lastLine = text => text.trimEnd().split("\n").at(-1);
const size = bytes => bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

async function send(one) {
  if (!one) return;
  if (one.size > LARGEST) return complain(`${one.name} has more than ${size(LARGEST)}: train on it with charloom train.`);
  if (!one.size) return complain(`${one.name} is empty, or a folder: pack a folder as .zip.`);
  complain("");
  sending = one.name;
  showText(null);
  try {
    const answer = await call(`/v1/charloom/texts?name=${encodeURIComponent(one.name)}`, one.slice());
    sending = "";
    await show(answer);
    again();
  } catch (error) {
    sending = "";
    showText(null);
    complain(error.message);
  }
}

file.addEventListener("change", () => send(file.files[0]).then(() => { file.value = ""; }));
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    const over = kind === "dragover" && !source.hidden;
    drop.classList.toggle("over", over);
    if (kind === "drop" && !source.hidden) send(event.dataTransfer.files[0]);
  });
}
chosen.querySelector(".other").addEventListener("click", () => attempt(async () => {
  await show(await call("/v1/charloom/texts", undefined, "DELETE"));
  file.focus();
}));
form.addEventListener("submit", event => {
  event.preventDefault();
  const asked = minutes.value ? { minutes: Number(minutes.value) } : {};
  const chosen = Object.fromEntries([...cures].map(cure => [cure.className, cure.checked && !cure.parentElement.hidden]));
  const what = run ? { run, ...asked } : { text: told.text.id, name: name.value, ...asked, ...chosen };
  attempt(async () => {
    const answer = await call("/v1/charloom/training", what);
    run = null;
    history.replaceState(null, "", "/train");
    await show(answer);
    live.querySelector(".stop").focus();
  });
});
live.querySelector(".stop").addEventListener("click", () => attempt(async () => {
  await show(await call(`/v1/charloom/training?run=${encodeURIComponent(told.training.run)}`, undefined, "DELETE"));
}));
live.querySelector(".resume").addEventListener("click", () => attempt(async () => {
  await show(await call("/v1/charloom/training", { run: told.training.run }));
}));
live.querySelector(".fresh").addEventListener("click", () => attempt(begin));

// Make room for another text.
async function begin() {
  [fresh, run] = [true, null];
  await show(await call("/v1/charloom/texts", undefined, "DELETE"));
  file.focus();
}

document.addEventListener("visibilitychange", () => document.hidden || look().catch(trouble));
enter(look);
