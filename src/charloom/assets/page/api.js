// The engine of a page, by a server: the functions that engine.js describes, as charloom serve answers.

const MOST = 2 ** 16; // characters that a request may be told the surprise of
const SEARCHED = 20000; // in which copies are looked for, the last ones of a text

export class ServerEngine {
  // model: what /v1/charloom/models says of one; key: what the server asks for, or "".
  constructor(model, key) {
    Object.assign(this, { name: model.id, kind: model.kind, characters: model.characters, key });
    this.ids = new Set(model.characters);
    this.shown = model.characters.map(character => character === "\0" ? "\n" : character);
  }

  knows(symbol) {
    return this.ids.has(symbol);
  }

  async read(symbols, signal) {
    const known = symbols.filter(symbol => this.knows(symbol)), found = new Float32Array(symbols.length).fill(NaN);
    if (!known.length) return found;
    const asked = { prompt: known.join(""), max_tokens: 0, echo: true, logprobs: 0 };
    const answer = await (await this.ask("/v1/completions", asked, signal)).json();
    const logs = answer.choices[0].logprobs.token_logprobs;
    let at = 0;
    symbols.forEach((symbol, place) => {
      if (!this.knows(symbol)) return;
      const log = logs[at++];
      if (log !== null) found[place] = -log;
    });
    return found;
  }

  async predict(symbols) {
    const prompt = symbols.filter(symbol => this.knows(symbol)).join("");
    const answer = await (await this.ask("/v1/charloom/next", { prompt })).json();
    return Float64Array.from(answer.log_probs, log => log ?? -Infinity);
  }

  // The passages of a text that the model learned from holds, too: where they are, in code points.
  async copies(symbols) {
    const left = Math.max(0, symbols.length - SEARCHED), text = symbols.slice(left).join("");
    const answer = await (await this.ask("/v1/charloom/copies", { text })).json();
    return answer.copies.map(copy => ({ ...copy, start: copy.start + left }));
  }

  async *write(symbols, { length, temperature, topP, seed, maxCopy }, signal) {
    const response = await this.ask("/v1/completions", {
      prompt: symbols.filter(symbol => this.knows(symbol)).join(""),
      max_tokens: Math.min(length, MOST), temperature, top_p: topP, max_copy: maxCopy || null,
      stream: true, logprobs: 0,
    }, signal, seed);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += value;
      const events = held.split("\n\n");
      held = events.pop();
      let text = "";
      const nats = [];
      for (const event of events) {
        const data = event.replace(/^data: /, "");
        if (data === "[DONE]") continue;
        const piece = JSON.parse(data);
        if (piece.error) throw new Error(piece.error.message);
        for (const choice of piece.choices) {
          text += choice.text;
          nats.push(...choice.logprobs.token_logprobs.map(log => -log));
        }
      }
      if (text) yield { text, nats };
    }
  }

  // A seed is written out: as a number, it would be rounded beyond 2^53.
  async ask(path, body, signal, seed) {
    const json = JSON.stringify({ model: this.name, ...body });
    return ask(path, this.key, seed ? `${json.slice(0, -1)},"seed":${seed}}` : json, signal);
  }
}

// What a server answers: a GET, a POST of a body (a file, JSON, or what becomes JSON), or another method. Raises an Error with what it refuses.
export async function ask(path, key, body, signal, method = body ? "POST" : "GET") {
  const headers = key ? { authorization: `Bearer ${key}` } : {}, isFile = body instanceof Blob;
  if (body) headers["content-type"] = isFile ? "application/octet-stream" : "application/json";
  const response = await fetch(path, { method, headers, body: isFile || typeof body === "string" ? body : body && JSON.stringify(body), signal });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const error = new Error(told.error?.message || `the server answered ${response.status}`);
  error.status = response.status;
  throw error;
}
