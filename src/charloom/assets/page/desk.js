// Write: a text that a model goes on with where the cursor is, and what it expected at each place.
// `engine` is what engine.js describes; whatever text comes from it is only ever text.
import { filterWeights, ranked } from "./draw.js";
import { GLYPHS, glyph, inLine, make, percent, spoken } from "./signs.js";
import { Tree } from "./tree.js";

const FURTHEST = 2.5; // standard deviations from the mean at which a colour is full
const SHOWN = 5; // characters that were likeliest
const LATER = 80; // milliseconds after a key before the text is read
const REPAINT = 400; // milliseconds between two times that all is coloured anew while text comes
const APART = 0.3; // of the temperatures that are compared
const RANDOM_SEEDS = 2 ** 32;
const LARGEST_SEED = 2n ** 63n - 1n; // that a server takes
const SETTLED = 400; // milliseconds after a text was read before copies are looked for
const SHORTEST_COPY = 20; // characters: what the server marks
const LISTED = 50; // copies at most

export function openDesk(root, engine) {
  const find = name => root.querySelector(`.${name}`);
  const [area, paint, sheet, state, go, again, undo, clear, compare] =
    ["text", "paint", "sheet", "state", "go", "again", "undo", "clear", "compare"].map(find);
  const tree = new Tree();
  let symbols = [], nats = [], spans = [], mean = 0, deviation = 0;
  let settling;
  let writing = null, reading = null, pinned = 0, pointed = null, shown = { place: -1, log: null };

  // Places in the text are counted in symbols here and in UTF-16 units by the text area.
  const units = place => area.value.length === symbols.length ? place : symbols.slice(0, place).join("").length;
  const placeOf = unit => area.value.length === symbols.length ? unit : Array.from(area.value.slice(0, unit)).length;

  // ------------------------------------------------------------------------------------ settings
  const number = (name, otherwise) => Number.isFinite(find(name).valueAsNumber) ? find(name).valueAsNumber : otherwise;
  const temperature = () => number("temperature", 1);
  // What was chosen; null, and it is said, if the seed is none. A seed is text: a number would be rounded.
  const settings = () => {
    const asked = find("seed").value.trim();
    const good = /^\d{0,19}$/.test(asked) && BigInt(asked || 0) <= LARGEST_SEED;
    find("seed").setCustomValidity(good ? "" : "no seed");
    if (!good) {
      tell(`A seed is a whole number from 0 to ${LARGEST_SEED.toLocaleString("en")}.`);
      find("seed").focus();
      return null;
    }
    const seed = asked ? String(BigInt(asked)) : String(Math.floor(Math.random() * RANDOM_SEEDS));
    const maxCopy = engine.copies ? Math.max(0, Math.round(number("max-copy", 0))) : 0;
    return { length: Math.max(1, Math.round(number("length", 300))), temperature: temperature(), topP: number("top-p", 1), seed, maxCopy };
  };
  find("seed").addEventListener("input", () => find("seed").setCustomValidity(""));
  const showSettings = () => {
    find("temperature-value").textContent = temperature().toFixed(2);
    find("top-p-value").textContent = number("top-p", 1).toFixed(2);
    showExpected();
  };
  for (const name of ["temperature", "top-p"]) find(name).addEventListener("input", showSettings);

  // ------------------------------------------------------------------------------------- colours
  function measure() {
    let n = 0, sum = 0, squares = 0;
    for (const value of nats) if (value >= 0 && value < Infinity) { n++; sum += value; squares += value * value; }
    mean = n ? sum / n : 0;
    deviation = n ? Math.sqrt(Math.max(0, squares / n - mean * mean)) : 0;
    find("mean").textContent = n ? `mean ${mean.toFixed(2)} nats, ${(mean / Math.LN2).toFixed(2)} bits per character` : "";
  }
  function colour(span, value) {
    const away = value >= 0 && deviation > 0 ? (value - mean) / deviation : 0;
    span.classList.toggle("cold", away < 0);
    span.style.setProperty("--a", (Math.min(Math.abs(away), FURTHEST) / FURTHEST).toFixed(3));
  }
  function colourAll() {
    measure();
    spans.forEach((span, place) => colour(span, nats[place]));
  }
  const spanOf = symbol => {
    const span = make("i", symbol);
    if (!engine.knows(symbol)) span.className = "unknown";
    return span;
  };

  // Put new symbols in the place of some; the text area has them already, or is told by `tell`.
  function splice(start, count, added, values, tell = true) {
    const [from, to] = tell ? [units(start), units(start + count)] : [], fresh = added.map(spanOf);
    for (const span of spans.slice(start, start + count)) span.remove();
    const next = spans[start + count] || null;
    if (next) next.before(...fresh);
    else paint.append(...fresh);
    if (start + count >= spans.length && start === 0) { spans = fresh; symbols = [...added]; nats = [...values]; }
    else {
      spans = spans.slice(0, start).concat(fresh, spans.slice(start + count));
      symbols = symbols.slice(0, start).concat(added, symbols.slice(start + count));
      nats = nats.slice(0, start).concat(values, nats.slice(start + count));
    }
    if (tell) area.setRangeText(added.join(""), from, to, "end");
    return fresh;
  }
  const show = text => splice(0, symbols.length, text, text.map(() => NaN));
  function reveal(place) {
    const box = (spans[place] || spans[place - 1])?.getBoundingClientRect(), frame = sheet.getBoundingClientRect();
    if (box && box.bottom > frame.bottom - 8) sheet.scrollTop += box.bottom - frame.bottom + 24;
    if (box && box.top < frame.top + 8) sheet.scrollTop -= frame.top - box.top + 24;
  }

  // Read what is shown, and colour it.
  async function read() {
    reading?.abort();
    clearTimeout(settling);
    const control = reading = new AbortController(), text = symbols;
    try {
      const found = await engine.read(text, control.signal);
      if (text !== symbols || control.signal.aborted) return;
      nats = Array.from(found);
      colourAll();
      const unknown = [...new Set(text.filter(symbol => !engine.knows(symbol)))];
      if (engine.copies) settling = setTimeout(markCopies, SETTLED);
      if (unknown.length) tell(`The model has never seen ${unknown.slice(0, 5).map(glyph).join(" ")}${unknown.length > 5 ? " …" : ""}, and passes over it.`);
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
    }
  }
  const tell = text => { state.textContent = text; };

  // -------------------------------------------------------------------------------------- copies
  find("copying").hidden = !engine.copies;
  async function markCopies() {
    const text = symbols, room = find("copied");
    let found = [];
    try {
      if (text.length >= SHORTEST_COPY) found = await engine.copies(text);
    } catch {
      room.hidden = true; // there is no text that could have been copied
      return;
    }
    if (text !== symbols) return;
    for (const span of paint.querySelectorAll(".copy")) span.classList.remove("copy");
    for (const { start, length } of found) for (const span of spans.slice(start, start + length)) span.classList.add("copy");
    const share = found.reduce((sum, one) => sum + one.length, 0) / text.length;
    const many = found.length === 1 ? "One passage" : `${found.length} passages`;
    find("copied-words").textContent = found.length
      ? `${many} of ${SHORTEST_COPY} characters or more, ${percent(share)} of the text, ${found.length === 1 ? "is" : "are"} in the training text, too:`
      : `No passage of ${SHORTEST_COPY} characters or more is in the training text.`;
    find("copies").replaceChildren(...found.slice(0, LISTED).map(copy => {
      const item = make("li"), go = make("button", `line ${copy.line.toLocaleString("en")}`), code = make("code");
      go.title = "Select it in the text";
      go.addEventListener("click", () => {
        area.focus();
        area.setSelectionRange(units(copy.start), units(copy.start + copy.length));
        reveal(copy.start);
      });
      code.append(inLine(copy.before), make("mark", inLine(copy.passage)), inLine(copy.after));
      item.append(go, code);
      return item;
    }));
    room.hidden = text.length < SHORTEST_COPY;
  }

  // -------------------------------------------------------------------------- what was expected
  const rows = Array.from({ length: SHOWN + 1 }, () => {
    const item = make("li"), button = make("button"), letter = make("code"), bar = make("span", undefined, "bar");
    const row = { item, button, bar: make("u"), letter, share: make("span", undefined, "share"), symbol: "" };
    bar.append(row.bar);
    button.append(letter, bar, row.share);
    item.append(button);
    item.hidden = true;
    button.addEventListener("click", () => take(row.symbol, shown.place));
    return row;
  });
  find("likely").append(...rows.map(row => row.item));

  async function expect(place) {
    spans[shown.marked]?.classList.remove("now");
    shown.marked = place;
    spans[place]?.classList.add("now");
    const text = symbols;
    try {
      const log = await engine.predict(text.slice(0, place));
      if (place !== (pointed ?? pinned) || text !== symbols) return;
      shown = { place, log, marked: place };
      showExpected();
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
    }
  }
  function showExpected() {
    const { place, log } = shown;
    if (!log) return;
    const weights = filterWeights(log, { temperature: temperature(), topP: number("top-p", 1) });
    const sum = weights.reduce((total, weight) => total + weight, 0), likeliest = ranked(log);
    const came = place < symbols.length ? engine.characters.findIndex((_, id) => engine.shown[id] === symbols[place]) : -1;
    const listed = likeliest.slice(0, SHOWN), rank = likeliest.indexOf(came);
    if (rank >= SHOWN) listed.push(came);
    rows.forEach((row, n) => {
      const id = listed[n];
      row.item.hidden = id === undefined;
      if (id === undefined) return;
      const share = percent(weights[id] / sum);
      row.symbol = engine.shown[id];
      row.letter.textContent = glyph(row.symbol);
      row.bar.style.width = `${100 * weights[id] / sum}%`;
      row.share.textContent = share;
      row.button.classList.toggle("came", id === came);
      row.button.setAttribute("aria-label", `${spoken(row.symbol)}, ${share}${id === came ? ", which came" : ""}: go on from here with it`);
    });
    const before = symbols.slice(Math.max(0, place - 12), place).map(symbol => GLYPHS[symbol] || symbol).join("");
    const line = find("place");
    line.replaceChildren();
    if (place >= symbols.length) line.append(...place ? ["After ", make("code", before), ":"] : ["At the beginning of a text:"]);
    else if (came < 0) line.append(make("code", glyph(symbols[place])), " is new to the model.");
    else {
      const value = -log[came];
      line.append(make("code", glyph(symbols[place])), ` came ${before ? "after " : "first: "}`);
      if (before) line.append(make("code", before), ": ");
      line.append(place ? `${value.toFixed(2)} nats, rank ${rank + 1} of ${log.length}.` : "nothing was before it.");
    }
  }

  // -------------------------------------------------------------------------------------- writing
  // Go on from `before` and `first`, which is new already, in a version below `parent`.
  async function write(parent, before, first, how, tail) {
    stop();
    const asked = settings();
    if (!asked) return;
    const control = writing = new AbortController();
    const base = before.concat(first), text = base.concat(tail);
    const node = tree.add(parent, text, before.length, base.length, how);
    if (text.length !== symbols.length || text.some((symbol, n) => symbol !== symbols[n])) show(text);
    let at = base.length, painted = performance.now();
    const began = painted;
    busy(true);
    tell("writing …");
    try {
      for await (const piece of engine.write(base, { ...asked, length: Math.max(1, asked.length - first.length) }, control.signal)) {
        if (control.signal.aborted) break;
        const added = Array.from(piece.text);
        splice(at, 0, added, piece.nats).forEach((span, n) => colour(span, piece.nats[n]));
        at += added.length;
        node.symbols = symbols;
        node.end = at;
        reveal(at);
        if (performance.now() > painted + REPAINT) { colourAll(); painted = performance.now(); }
        await new Promise(requestAnimationFrame);
      }
      const seconds = (performance.now() - began) / 1000, written = at - base.length;
      if (writing === control) tell(`${written.toLocaleString("en")} characters in ${seconds.toFixed(1)} s, seed ${asked.seed}`);
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
    }
    if (writing !== control) return;
    writing = null;
    busy(false);
    area.setSelectionRange(units(at), units(at));
    pin(at);
    drawTree();
    await read();
  }
  function stop() {
    writing?.abort();
    writing = null;
    busy(false);
  }
  function busy(is) {
    go.textContent = is ? "Stop" : "Continue";
    go.classList.toggle("busy", is);
    area.readOnly = is;
    again.disabled = is || !["continued", "chosen"].includes(tree.now.how);
    undo.disabled = !tree.now.parent;
  }
  const continued = () => {
    const place = placeOf(area.selectionEnd);
    return write(tree.now, symbols.slice(0, place), [], "continued", symbols.slice(place));
  };
  const take = (symbol, place) => write(tree.before(place), symbols.slice(0, place), [symbol], "chosen", []);
  function another() {
    const { parent, start, how, symbols: own, end } = tree.now;
    return write(parent, own.slice(0, start), how === "chosen" ? own.slice(start, start + 1) : [], how, own.slice(end));
  }
  // Show a version as it was.
  function visit(node) {
    stop();
    tree.now = node;
    show(node.symbols);
    area.setSelectionRange(units(node.end), units(node.end));
    reveal(node.end);
    pin(node.end);
    busy(false);
    drawTree();
    tell("");
    return read();
  }
  const back = () => { if (tree.now.parent) visit(tree.now.parent); };

  // ------------------------------------------------------------------------------------- branches
  function drawTree() {
    const walk = (node, list) => {
      const item = make("li"), own = node.symbols.slice(node.start, node.end);
      const words = own.slice(0, 48).map(symbol => symbol === "\n" ? "↵" : symbol).join("");
      const button = make("button", node.how === "begun" ? "beginning" : words + (own.length > 48 ? "…" : "") || "deleted", node.how);
      if (node === tree.now) button.setAttribute("aria-current", "true");
      button.title = `${node.how}: ${own.length.toLocaleString("en")} characters`;
      button.addEventListener("click", () => visit(node));
      item.append(button);
      list.append(item);
      if (node.children.length === 1) return walk(node.children[0], list);
      if (node.children.length) {
        const below = make("ul");
        item.append(below);
        node.children.forEach(child => walk(child, below));
      }
    };
    const list = find("tree");
    list.replaceChildren();
    walk(tree.root, list);
  }

  // ------------------------------------------------------------------------------------- the area
  let later;
  function typed() {
    const text = Array.from(area.value);
    let start = 0, end = 0;
    while (start < text.length && start < symbols.length && text[start] === symbols[start]) start++;
    while (end < text.length - start && end < symbols.length - start && text[text.length - 1 - end] === symbols[symbols.length - 1 - end]) end++;
    const added = text.slice(start, text.length - end);
    const sizes = area.value;
    splice(start, symbols.length - start - end, added, added.map(() => NaN), false);
    for (const span of spans.slice(start)) span.style.setProperty("--a", 0); // until it is read
    const { now } = tree;
    if (now.how === "typed" && !now.children.length) {
      Object.assign(now, { symbols: text, start: Math.min(now.start, start), end: Math.max(text.length - end, now.end + text.length - now.symbols.length) });
      if (now.parent.symbols.join("") === sizes) { // it was taken back, key by key
        now.parent.children.pop();
        tree.now = now.parent;
      }
    } else tree.add(now, text, start, text.length - end, "typed");
    busy(false);
    tell("");
    clearTimeout(later);
    later = setTimeout(() => { drawTree(); read(); pin(placeOf(area.selectionEnd)); }, LATER);
  }
  function pin(place) {
    pinned = place;
    if (pointed === null) expect(place);
  }
  area.addEventListener("input", typed);
  document.addEventListener("selectionchange", () => {
    if (document.activeElement !== area || writing) return;
    const place = placeOf(area.selectionEnd);
    if (place !== pinned) pin(place);
  });
  const under = event => {
    const span = document.elementsFromPoint(event.clientX, event.clientY).find(element => element.parentNode === paint);
    return span ? spans.indexOf(span) : -1;
  };
  sheet.addEventListener("pointermove", event => {
    if (event.pointerType !== "mouse" || event.buttons || writing) return;
    const place = under(event);
    if (place === (pointed ?? -1)) return;
    pointed = place < 0 ? null : place;
    expect(pointed ?? pinned);
  });
  sheet.addEventListener("pointerleave", () => {
    if (pointed === null) return;
    pointed = null;
    expect(pinned);
  });
  sheet.addEventListener("click", event => { // the character, not the nearest gap
    const place = under(event);
    if (place < 0 || writing || area.selectionStart !== area.selectionEnd) return;
    area.setSelectionRange(units(place), units(place));
    pointed = null;
    pin(place);
  });
  go.addEventListener("click", () => writing ? stop() : continued());
  again.addEventListener("click", another);
  undo.addEventListener("click", back);
  clear.addEventListener("click", () => {
    if (!symbols.length) return area.focus();
    stop();
    visit(tree.root);
    area.focus();
  });
  root.addEventListener("keydown", event => {
    const ours = event.ctrlKey || event.metaKey;
    if (event.key === "Escape" && writing) stop();
    else if (ours && event.key === "Enter" && !writing) continued();
    else if (ours && event.key.toLowerCase() === "z" && !event.shiftKey && tree.now.how !== "typed" && event.target === area) back();
    else return;
    event.preventDefault();
  });

  // ----------------------------------------------------------------------------------- comparison
  let comparing = null;
  compare?.addEventListener("click", () => {
    comparing?.abort();
    const asked = settings();
    if (!asked) return;
    const control = comparing = new AbortController(), place = placeOf(area.selectionEnd);
    const base = symbols.slice(0, place), parent = tree.now, tail = symbols.slice(place), list = find("columns");
    const middle = Math.max(APART, asked.temperature);
    list.replaceChildren(...[middle - APART, middle, middle + APART].map(heat => {
      const figure = make("figure"), head = make("figcaption"), button = make("button", "Take it"), text = make("pre");
      const found = [], values = [];
      head.append(make("span", `temperature ${heat.toFixed(2)}`), button);
      figure.append(head, text);
      text.tabIndex = 0; // it scrolls
      button.addEventListener("click", () => {
        control.abort();
        tree.add(parent, base.concat(found, tail), place, place + found.length, "continued");
        list.replaceChildren();
        visit(tree.now);
      });
      (async () => {
        try {
          for await (const piece of engine.write(base, { ...asked, temperature: heat }, control.signal)) {
            if (control.signal.aborted) return;
            const added = Array.from(piece.text);
            found.push(...added);
            values.push(...piece.nats);
            text.append(...added.map((symbol, n) => {
              const span = make("i", symbol);
              colour(span, piece.nats[n]);
              return span;
            }));
          }
        } catch (error) {
          if (error.name !== "AbortError") tell(error.message);
        }
      })();
      return figure;
    }));
  });

  showSettings();
  drawTree();
  busy(false);
  pin(0);
}
