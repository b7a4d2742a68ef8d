// An n-gram model that reads a character at a time: the trie of charloom/models/ngram/kernels.py.

const CODES_A_NAT = 22;
const NONE_LEFT = 1 - 2 ** -22; // of weights in float32 that add up to 1

export class Ngram {
  // arrays: children (C,), character (M - 1,), and weight (M - 1,) with wholeWeight (C - 1,), for a
  // context that is the whole text so far, or only code (M - 1,): weights in 8 bits.
  // `shorter` is how many contexts are not as long as the model looks back.
  constructor(V, arrays, shorter) {
    const { children, character } = arrays, C = children.length, M = character.length + 1;
    const weight = arrays.weight || Float64Array.from(arrays.code, code => Math.exp(-code / CODES_A_NAT));
    const behind = array => { const found = new array.constructor(array.length + 1); found.set(array, 1); return found; };
    this.first = new Int32Array(C + 1);
    this.first[0] = 1;
    children.forEach((n, h) => { this.first[h + 1] = this.first[h] + n; });
    this.character = behind(character);
    this.weight = behind(weight);
    this.backoff = this.rest(this.weight, C);
    if (arrays.wholeWeight) {
      this.wholeWeight = behind(arrays.wholeWeight);
      this.wholeBackoff = this.rest(this.wholeWeight, shorter);
    }
    this.suffix = new Int32Array(M);
    for (let node = 1; node < C; node++)
      for (let j = this.first[node]; j < this.first[node + 1]; j++)
        this.suffix[j] = this.child(this.suffix[node], this.character[j]);
    this.V = V;
    this.p = new Float64Array(V);
    this.out = new Float64Array(V);
    this.start();
  }

  // What the weights of each of C contexts leave to shorter ones.
  rest(weight, C) {
    return Float64Array.from({ length: C }, (_, h) => {
      let sum = 0;
      for (let j = this.first[h]; j < this.first[h + 1]; j++) sum += weight[j];
      return sum > NONE_LEFT ? 0 : 1 - sum;
    });
  }

  start() { this.state = this.wholeWeight ? ~0 : 0; }
  save() { return this.state; }
  restore(state) { this.state = state; }

  child(node, c) {
    let low = this.first[node], high = this.first[node + 1];
    const end = high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.character[middle] < c) low = middle + 1;
      else high = middle;
    }
    return low < end && this.character[low] === c ? low : -1;
  }

  step(c) {
    const whole = this.state < 0;
    let context = whole ? ~this.state : this.state, node = this.child(context, c);
    if (whole && node >= 0 && node < this.wholeBackoff.length) { this.state = ~node; return; }
    while (node < 0 && context > 0) {
      context = this.suffix[context];
      node = this.child(context, c);
    }
    this.state = node < 0 ? 0 : node < this.backoff.length ? node : this.suffix[node];
  }

  // P (V,) of the next character.
  probabilities() {
    const { p, state, first, character } = this;
    let weight = this.weight, backoff = this.backoff, share = 1, context = state;
    if (state < 0) { weight = this.wholeWeight; backoff = this.wholeBackoff; context = ~state; }
    p.fill(0);
    for (;;) {
      for (let j = first[context]; j < first[context + 1]; j++) p[character[j]] += share * weight[j];
      share *= backoff[context];
      weight = this.weight;
      backoff = this.backoff;
      if (context === 0 || share === 0) break;
      context = this.suffix[context];
    }
    for (let v = 0; v < p.length; v++) p[v] += share / p.length;
    return p;
  }

  logProbs() {
    this.probabilities().forEach((p, v) => { this.out[v] = Math.log(p); });
    return this.out;
  }
}

// A network and an n-gram model, read as one: charloom/models/mixture/gate.py.
export class Mixture {
  constructor(network, counts, shares) {
    Object.assign(this, { network, counts, shares, V: network.V });
    this.out = new Float64Array(this.V);
  }

  start() { this.network.start(); this.counts.start(); }
  step(id) { this.network.step(id); this.counts.step(id); }
  save() { return [this.network.save(), this.counts.save()]; }
  restore([network, counts]) { this.network.restore(network); this.counts.restore(counts); }

  logProbs() {
    const p = this.network.probabilities(), q = this.counts.probabilities();
    const { out, shares, V } = this, last = shares.length - 1;
    let x = 0, y = 0;
    for (let v = 0; v < V; v++) {
      x += p[v] * p[v];
      y += q[v] * q[v];
    }
    x = Math.min(x, 1) * last;
    y = Math.min(y, 1) * last;
    const i = Math.min(Math.floor(x), last - 1), j = Math.min(Math.floor(y), last - 1);
    x -= i;
    y -= j;
    const share = (1 - x) * ((1 - y) * shares[i][j] + y * shares[i][j + 1])
      + x * ((1 - y) * shares[i + 1][j] + y * shares[i + 1][j + 1]);
    for (let v = 0; v < V; v++) out[v] = Math.log(share * p[v] + (1 - share) * q[v]);
    return out;
  }
}
