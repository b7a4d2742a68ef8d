// The arithmetic of a recurrent network on one memory: in WebAssembly, four numbers at once, or, where
// a browser refuses that, by its slow twin here. Places are in bytes, lengths multiples of TILE.

export const TILE = 32; // columns of a matrix that stand together

export function slowKernels(memory) {
  const f = new Float32Array(memory.buffer), round = Math.fround;
  const sigmoid = x => 1 / (1 + Math.exp(-x));
  return {
    // y (32 tiles) += x (rows) w, w in tiles (rows, 32).
    product(w, x, y, rows, tiles) {
      w /= 4; x /= 4; y /= 4;
      for (let tile = 0; tile < tiles; tile++, y += TILE)
        for (let k = 0; k < rows; k++, w += TILE)
          for (let j = 0; j < TILE; j++) f[y + j] += round(f[x + k] * f[w + j]);
    },
    // h = tanh(a)
    rnn(a, h, H) {
      a /= 4; h /= 4;
      for (let j = 0; j < H; j++) f[h + j] = Math.tanh(f[a + j]);
    },
    // c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c); a is i, f, o, g
    lstm(a, h, c, H) {
      a /= 4; h /= 4; c /= 4;
      for (let j = 0; j < H; j++) {
        const [i, forget, o] = [0, 1, 2].map(gate => sigmoid(f[a + gate * H + j]));
        f[c + j] = forget * f[c + j] + i * Math.tanh(f[a + 3 * H + j]);
        f[h + j] = o * Math.tanh(f[c + j]);
      }
    },
    // n = tanh(a_n + r q_n), h = n + z (h - n); a and q are r, z, n
    gru(a, q, h, H) {
      a /= 4; q /= 4; h /= 4;
      for (let j = 0; j < H; j++) {
        const [r, z] = [0, 1].map(gate => sigmoid(f[a + gate * H + j] + f[q + gate * H + j]));
        const n = Math.tanh(f[a + 2 * H + j] + r * f[q + 2 * H + j]);
        f[h + j] = n + z * (f[h + j] - n);
      }
    },
  };
}

// The kernels of a module, or their twin if there is none or the browser does not run it.
export async function openKernels(bytes, memory) {
  try {
    const { instance } = await WebAssembly.instantiate(bytes, { page: { memory } });
    return instance.exports;
  } catch {
    return slowKernels(memory);
  }
}
