// The versions of a text, each with the one that it came from.

export class Tree {
  constructor() {
    this.root = this.now = { parent: null, children: [], symbols: [], start: 0, end: 0, how: "begun" };
  }

  // A new version of symbols, of which start to end are its own part, below `parent`; it is now.
  add(parent, symbols, start, end, how) {
    this.now = { parent, children: [], symbols, start, end, how };
    parent.children.push(this.now);
    return this.now;
  }

  // From which version another goes on that has the same text up to a place: one that is all before.
  before(place) {
    let node = this.now;
    while (node.parent && node.start >= place) node = node.parent;
    return node.parent && node.end > place ? node.parent : node;
  }
}
