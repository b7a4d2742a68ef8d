// The page of charloom serve: a model is chosen, and the server is the engine.
import { call, enter, say } from "/static/door.js";
import { ServerEngine } from "./api.js";
import { openDesk } from "./desk.js";

const [chooser, models, room, blank] =
  [".chooser", ".models", ".place-of-desk", ".blank"].map(name => document.querySelector(name));
let key = "", listed = [];

async function begin(given) {
  key = given;
  listed = (await call("/v1/charloom/models")).data;
  if (!listed.length) {
    say("There is no run yet that writes characters: Train makes one of a text.");
    return;
  }
  for (const model of listed) {
    const option = document.createElement("option");
    option.value = option.textContent = model.id;
    models.append(option);
  }
  chooser.hidden = false;
  const asked = new URLSearchParams(location.search).get("model");
  if (listed.some(model => model.id === asked)) models.value = asked;
  choose();
}

// A new desk for the chosen model; the text goes with it.
function choose() {
  const model = listed.find(one => one.id === models.value), text = room.querySelector("textarea")?.value || "";
  room.replaceChildren(blank.content.cloneNode(true));
  say(`${model.kind}, trained on ${model.text}`);
  openDesk(room.querySelector(".write"), new ServerEngine(model, key));
  if (text) {
    const area = room.querySelector("textarea");
    area.value = text;
    area.dispatchEvent(new Event("input"));
  }
}

models.addEventListener("change", choose);
enter(begin);
