// Log-probabilities and a uniform number in, the next character out: generation/draw.py, and the
// random numbers that NumPy draws, so that a seed gives the text that the command line gives.

// Weights (V,) to draw with: divided by their sum they are probabilities.
export function filterWeights(logProbs, { temperature, topP }) {
  const weights = new Float64Array(logProbs.length);
  let best = 0;
  for (let v = 1; v < logProbs.length; v++) if (logProbs[v] > logProbs[best]) best = v;
  if (temperature === 0) {
    weights[best] = 1;
    return weights;
  }
  for (let v = 0; v < weights.length; v++) weights[v] = Math.exp((logProbs[v] - logProbs[best]) / temperature);
  if (topP < 1) {
    const ranks = ranked(logProbs), whole = ranks.reduce((sum, v) => sum + weights[v], 0);
    let before = weights[ranks[0]];
    for (const v of ranks.slice(1)) {
      const weight = weights[v];
      if (before >= topP * whole) weights[v] = 0;
      before += weight;
    }
  }
  return weights;
}

// Ids from the likeliest down, of equals the lower first.
export const ranked = logProbs =>
  Array.from(logProbs, (_, v) => v).sort((a, b) => logProbs[b] - logProbs[a] || a - b);

export function draw(logProbs, settings, u) {
  const weights = filterWeights(logProbs, settings);
  let sum = 0, reached = 0;
  for (const weight of weights) sum += weight;
  for (let v = 0; v < weights.length; v++) if ((reached += weights[v]) > u * sum) return v;
  return ranked(logProbs)[0];
}

const M64 = (1n << 64n) - 1n, M128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n; // of PCG64, O'Neill 2014

// The doubles of numpy.random.default_rng(seed).spawn(1)[0], one a call.
export function uniforms(seed) {
  const words = seedWords(BigInt(seed));
  const pair = n => (BigInt(words[n + 1]) << 32n) | BigInt(words[n]);
  const increment = ((((pair(4) << 64n) | pair(6)) << 1n) | 1n) & M128;
  let state = increment;
  const step = () => { state = (state * MULTIPLIER + increment) & M128; };
  state = (state + ((pair(0) << 64n) | pair(2))) & M128;
  step();
  return () => {
    step();
    const high = state >> 64n, mixed = high ^ (state & M64), turn = high >> 58n;
    const turned = ((mixed >> turn) | (mixed << (64n - turn))) & M64;
    return Number(turned >> 11n) / 2 ** 53;
  };
}

// Eight 32-bit words of a seed: NumPy's SeedSequence with the spawn key (0,).
function seedWords(seed) {
  const entropy = [];
  for (let left = seed; left > 0n || !entropy.length; left >>= 32n) entropy.push(Number(left & 0xffffffffn));
  while (entropy.length < 4) entropy.push(0);
  entropy.push(0); // the spawn key
  let hash = 0x43b0d7e5;
  const hashed = value => {
    value ^= hash;
    hash = Math.imul(hash, 0x931e8875);
    value = Math.imul(value, hash);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mixed = (x, y) => {
    const value = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const pool = entropy.slice(0, 4).map(hashed);
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mixed(pool[to], hashed(pool[from]));
  for (const word of entropy.slice(4)) for (let to = 0; to < 4; to++) pool[to] = mixed(pool[to], hashed(word));
  hash = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, n) => {
    let value = pool[n % 4] ^ hash;
    hash = Math.imul(hash, 0x58f38ded);
    value = Math.imul(value, hash);
    return (value ^ (value >>> 16)) >>> 0;
  });
}
