// The engine of a page, by a server: the functions that engine.js describes, as charloom serve answers.

const MOST = 2 ** 16; // characters that a request may be told the surprise of

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

  async *write(symbols, { length, temperature, topP, seed }, signal) {
    const response = await this.ask("/v1/completions", {
      prompt: symbols.filter(symbol => this.knows(symbol)).join(""),
      max_tokens: Math.min(length, MOST), temperature, top_p: topP, seed: Number(seed),
      stream: true, logprobs: 0,
    }, signal);
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

  async ask(path, body, signal) {
    return ask(path, this.key, { model: this.name, ...body }, signal);
  }
}

// What a server answers: a GET, a POST of a body (a file, or else JSON), or another method. Raises an Error with what it refuses.
export async function ask(path, key, body, signal, method = body ? "POST" : "GET") {
  const headers = key ? { authorization: `Bearer ${key}` } : {}, isFile = body instanceof Blob;
  if (body) headers["content-type"] = isFile ? "application/octet-stream" : "application/json";
  const response = await fetch(path, { method, headers, body: isFile ? body : body && JSON.stringify(body), signal });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const error = new Error(told.error?.message || `the server answered ${response.status}`);
  error.status = response.status;
  throw error;
}
