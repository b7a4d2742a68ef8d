// The engine of a page, in the browser: what the page asks of a model, whoever answers.
//
//   name, kind, characters     what it is called, what it is, and the V characters that it knows
//   shown, knows(symbol)       as what each character is shown, and whether there is such a one
//   read(symbols, signal)      the surprise in nats of each symbol of a text, NaN for what has none
//   predict(symbols)           log-probabilities (V,) of what comes after the text
//   write(symbols, settings, signal)   yields {text, nats}, piece by piece, that goes on from it
//
// Symbols are code points, each a string. One that the model does not know is passed over. All are
// asynchronous, and several may go on at once. api.js has the same functions by a server.
import { draw, uniforms } from "./draw.js";

const EVERY = 64; // symbols between two states that are kept
const SLICE = 8; // milliseconds of work before the page may do something else
const turn = () => new Promise(resolve => setTimeout(resolve));

export class BrowserEngine {
  constructor(about, model) {
    Object.assign(this, { name: about.name, kind: about.kind, notes: about.notes, model });
    this.characters = about.characters;
    this.ids = new Map(about.characters.map((character, id) => [character, id]));
    this.shown = about.characters.map(character => character === "\0" ? "\n" : character);
    this.known = []; // the symbols that were read,
    this.nats = []; // their surprise,
    this.states = []; // and the states before every 64th of them
    this.last = Promise.resolve(); // of the readings, one after another
    const first = ["\0", "\n", " "].find(character => this.ids.has(character));
    this.beginning = this.ids.get(first) ?? 0; // read where there is no text
  }

  knows(symbol) {
    return this.ids.has(symbol);
  }

  async read(symbols, signal) {
    return this.after(symbols, signal, () => Float32Array.from(this.nats.slice(0, symbols.length)));
  }

  async predict(symbols) {
    return this.after(symbols, undefined, () => Float64Array.from(this.model.logProbs()));
  }

  async *write(symbols, { length, temperature, topP, seed }, signal) {
    const { model } = this, uniform = uniforms(seed);
    let saved = await this.after(symbols, signal, () => model.save());
    for (let left = length; left > 0 && !signal?.aborted;) {
      model.restore(saved);
      const end = performance.now() + SLICE, nats = [];
      let text = "";
      do {
        const log = model.logProbs(), id = draw(log, { temperature, topP }, uniform());
        nats.push(-log[id]);
        text += this.shown[id];
        model.step(id);
      } while (--left > 0 && performance.now() < end);
      saved = model.save();
      yield { text, nats };
      await turn();
    }
  }

  // What `then` returns right after the model has read the symbols. One text at a time is read.
  after(symbols, signal, then) {
    const done = this.last.then(() => this.follow(symbols, signal, then));
    this.last = done.catch(() => {});
    return done;
  }

  // Bring the model to where it has read the symbols; what is still known is not done again.
  async follow(symbols, signal, then) {
    const { model, known, nats, states } = this, end = symbols.length;
    let same = 0;
    while (same < end && symbols[same] === known[same]) same++;
    if (same < known.length && same < end) { // another text: from here on nothing is known
      known.length = nats.length = same;
      states.length = Math.min(states.length, Math.floor(same / EVERY) + 1);
    }
    let at = Math.min(states.length - 1, Math.floor(end / EVERY)) * EVERY, begun = false;
    if (at < 0) {
      at = 0;
      model.start();
    } else {
      let state;
      [begun, state] = states[at / EVERY];
      model.restore(state);
    }
    let until = performance.now() + SLICE;
    for (; at < end; at++) {
      if (at % EVERY === 0) states[at / EVERY] = [begun, model.save()];
      const symbol = symbols[at], id = this.ids.get(symbol);
      known[at] = symbol;
      nats[at] = id === undefined || !begun ? NaN : -model.logProbs()[id];
      if (id !== undefined) {
        model.step(id);
        begun = true;
      }
      if (performance.now() > until) {
        const saved = model.save();
        await turn();
        signal?.throwIfAborted();
        model.restore(saved);
        until = performance.now() + SLICE;
      }
    }
    if (!begun) model.step(this.beginning);
    return then();
  }
}
