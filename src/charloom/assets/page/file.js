// One file: the model is in the page.
import { BrowserEngine } from "./engine.js";
import { openModel } from "./model.js";
import { openDesk } from "./desk.js";

const content = name => document.querySelector(name).textContent;
const about = JSON.parse(content(".about-model"));
const line = document.querySelector(".about");
try {
  const engine = new BrowserEngine(about, await openModel(about, content(".arrays")));
  line.textContent = about.words;
  openDesk(document.querySelector(".write"), engine);
  globalThis.charloom = engine; // for a console: await charloom.predict([..."It was"])
} catch (error) {
  line.textContent = `This browser cannot run the model (${error.message}): a newer one can.`;
  line.classList.add("why");
}
