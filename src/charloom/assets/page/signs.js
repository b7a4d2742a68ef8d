// Small things that all parts of a page share: elements, and how characters and shares are shown.

const NAMES = { "\n": "line end", " ": "space", "\t": "tab", "\u00a0": "no-break space" };
export const GLYPHS = { "\n": "↵", " ": "␣", "\t": "⇥", "\u00a0": "⍽" };
const code = symbol => `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
const unseen = symbol => /^\p{C}$/u.test(symbol);

export const glyph = symbol => GLYPHS[symbol] || (unseen(symbol) ? code(symbol) : symbol);
export const spoken = symbol => NAMES[symbol] || (unseen(symbol) ? code(symbol) : symbol);
export const inLine = text => text.replaceAll("\n", "↵");
export const percent = p => p === 0 ? "0%" : p < 0.0005 ? "< 0.1%" : `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)}%`;

export function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  if (tag === "button") element.type = "button";
  return element;
}
