// The way into every part of the page: the server's key, which is asked for once, and requests with it.
import { ask } from "/page/api.js";

const about = document.querySelector(".about"), unlock = document.querySelector(".unlock");
let key = sessionStorage.getItem("key") || "";

// begin(key) asks the server for something; what it raises is shown, and a key is asked for if that is missing.
export async function enter(begin) {
  async function attempt() {
    try {
      await begin(key);
    } catch (error) {
      unlock.hidden = error.status !== 401;
      say(error.status === 401 ? "This server asks for its API key." : error.message);
      return;
    }
    unlock.hidden = true;
    sessionStorage.setItem("key", key);
  }
  unlock.addEventListener("submit", event => {
    event.preventDefault();
    key = unlock.querySelector("input[type=password]").value.trim();
    attempt();
  });
  await attempt();
}

// What the server answers, as JSON: a GET, or a POST of a body, or another method. Raises an Error with what it refuses.
export async function call(path, body, method) {
  return (await ask(path, key, body, undefined, method)).json();
}

export function say(text) {
  about.textContent = text;
}
