// The page of charloom serve: a model is chosen, and the server is the engine.
import { ServerEngine, ask } from "./api.js";
import { openDesk } from "./desk.js";

const [about, unlock, chooser, models, room, blank] =
  [".about", ".unlock", ".chooser", ".models", ".place-of-desk", ".blank"].map(name => document.querySelector(name));
let key = sessionStorage.getItem("key") || "", listed = [];

async function begin() {
  try {
    listed = (await (await ask("/v1/charloom/models", key)).json()).data;
  } catch (error) {
    unlock.hidden = error.status !== 401;
    about.textContent = error.status === 401 ? "This server asks for its API key." : error.message;
    return;
  }
  unlock.hidden = true;
  sessionStorage.setItem("key", key);
  if (!listed.length) {
    about.textContent = "There is no run yet that writes characters: charloom train SOURCE makes one.";
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
  about.textContent = `${model.kind}, trained on ${model.text}`;
  openDesk(room.querySelector(".write"), new ServerEngine(model, key));
  if (text) {
    const area = room.querySelector("textarea");
    area.value = text;
    area.dispatchEvent(new Event("input"));
  }
}

models.addEventListener("change", choose);
unlock.addEventListener("submit", event => {
  event.preventDefault();
  key = unlock.querySelector("input[type=password]").value.trim();
  begin();
});
begin();
