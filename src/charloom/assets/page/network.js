// A recurrent network that reads a character at a time: charloom/models/reference is what it computes.
import { TILE, openKernels } from "./kernels.js";

const GATES = { rnn: 1, lstm: 4, gru: 3 };
const OPEN = 1e6; // what opens a gate, whatever is added
const padded = n => Math.ceil(n / TILE) * TILE;

// Matrices lie in the one memory as tiles of 32 columns, each gate from a tile's beginning. What is
// between the gates is 0, and so are the units there for ever.
export class Network {
  // config: cell, layers, hidden, embedding, reset; arrays: as in models/weights.py, Float32Array by name.
  static async open(config, V, arrays, module) {
    const network = new Network(), { layers, hidden: H, embedding: D } = config;
    const G = GATES[config.cell], Hp = padded(H), N = G * Hp, Vp = padded(V);
    const floats = (D ? V * D : V * N) + layers * (2 * (Math.max(H, D) * N + N) + 3 * Hp + N)
      + H * Vp + 2 * Vp + 2 * N + Hp + 64;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(floats / 16384) });
    const f = new Float32Array(memory.buffer);
    let free = 16;
    const take = n => (free += n) - n;
    const columns = j => Math.floor(j / H) * Hp + j % H; // of a gate's unit
    const plain = (array, width, to, place) => {
      const at = take(array.length / width * to);
      for (let i = 0; i < array.length; i++) f[at + Math.floor(i / width) * to + place(i % width)] = array[i];
      return at;
    };
    const tiled = (array, rows, width, to, place) => {
      const at = take(rows * to);
      for (let k = 0; k < rows; k++)
        for (let j = 0; j < width; j++) {
          const column = place(j), tile = Math.floor(column / TILE);
          f[at + tile * rows * TILE + k * TILE + column % TILE] = array[k * width + j];
        }
      return at;
    };
    const same = j => j;
    network.embedding = D ? plain(arrays.embedding, D, D, same) : 0;
    network.layers = [];
    for (let l = 0; l < layers; l++) {
      const [Wx, Wh, b] = ["Wx", "Wh", "b"].map(name => arrays[`layer${l}.${name}`]);
      const rows = Wx.length / (G * H), oneHot = l === 0 && !D;
      if (oneHot) for (let i = 0; i < Wx.length; i++) Wx[i] += b[i % b.length]; // a row is all there is
      network.layers.push({
        rows, oneHot,
        Wx: oneHot ? plain(Wx, G * H, N, columns) : tiled(Wx, rows, G * H, N, columns),
        Wh: tiled(Wh, H, G * H, N, columns),
        b: plain(b, G * H, N, columns),
        bhn: config.reset === "biased-product" ? plain(arrays[`layer${l}.bhn`], H, Hp, same) : 0,
        h: take(Hp), c: take(Hp),
      });
    }
    network.head = tiled(arrays["head.W"], H, V, Vp, same);
    network.bias = plain(arrays["head.b"], V, Vp, same);
    network.a = take(N);
    network.q = take(N);
    network.y = take(Vp);
    network.rh = take(Hp);
    network.reset = config.reset;
    Object.assign(network, { V, f, H, Hp, N, Vp, cell: config.cell });
    network.logits = f.subarray(network.y, network.y + V);
    network.kernels = await openKernels(module, memory);
    network.p = new Float64Array(V);
    network.out = new Float64Array(V);
    return network;
  }

  start() {
    for (const { h, c } of this.layers) this.f.fill(0, h, h + this.Hp).fill(0, c, c + this.Hp);
  }

  step(id) {
    const { f, kernels, H, Hp, N, a, q, rh, cell } = this, tiles = N / TILE;
    let x = this.embedding + id * this.layers[0].rows;
    for (const { rows, oneHot, Wx, Wh, b, bhn, h, c } of this.layers) {
      const from = oneHot ? Wx + id * N : b;
      f.copyWithin(a, from, from + N);
      if (!oneHot) kernels.product(4 * Wx, 4 * x, 4 * a, rows, tiles);
      if (cell === "gru") f.fill(0, q, q + N);
      if (bhn) f.copyWithin(q + 2 * Hp, bhn, bhn + Hp);
      if (this.reset === "state") {
        kernels.product(4 * Wh, 4 * h, 4 * q, H, 2 * Hp / TILE);
        for (let j = 0; j < H; j++) f[rh + j] = f[h + j] / (1 + Math.exp(-f[a + j] - f[q + j]));
        kernels.product(4 * (Wh + 2 * Hp * H), 4 * rh, 4 * (q + 2 * Hp), H, Hp / TILE);
        f.fill(OPEN, a, a + Hp); // r is in the product already
      } else kernels.product(4 * Wh, 4 * h, 4 * (cell === "gru" ? q : a), H, tiles);
      if (cell === "rnn") kernels.rnn(4 * a, 4 * h, Hp);
      else if (cell === "lstm") kernels.lstm(4 * a, 4 * h, 4 * c, Hp);
      else kernels.gru(4 * a, 4 * q, 4 * h, Hp);
      x = h;
    }
    f.copyWithin(this.y, this.bias, this.bias + this.Vp);
    kernels.product(4 * this.head, 4 * x, 4 * this.y, H, this.Vp / TILE);
  }

  // P (V,) of the next character.
  probabilities() {
    const { logits, p, V } = this;
    let highest = -Infinity, sum = 0;
    for (let v = 0; v < V; v++) if (logits[v] > highest) highest = logits[v];
    for (let v = 0; v < V; v++) sum += p[v] = Math.exp(logits[v] - highest);
    for (let v = 0; v < V; v++) p[v] /= sum;
    this.log = highest + Math.log(sum);
    return p;
  }

  // Their logarithms, in nats.
  logProbs() {
    this.probabilities();
    for (let v = 0; v < this.V; v++) this.out[v] = this.logits[v] - this.log;
    return this.out;
  }

  save() {
    const { f, Hp } = this, found = new Float32Array(this.layers.length * 2 * Hp + this.V);
    this.layers.forEach(({ h }, l) => found.set(f.subarray(h, h + 2 * Hp), l * 2 * Hp)); // c is next to h
    found.set(this.logits, this.layers.length * 2 * Hp);
    return found;
  }

  restore(saved) {
    const { f, Hp } = this;
    this.layers.forEach(({ h }, l) => f.set(saved.subarray(l * 2 * Hp, (l + 1) * 2 * Hp), h));
    this.logits.set(saved.subarray(this.layers.length * 2 * Hp));
  }
}
