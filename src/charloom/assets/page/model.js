// A model out of a page: what charloom/formats/html/contents.py packed.
import { Network } from "./network.js";
import { Mixture, Ngram } from "./ngram.js";

const TYPES = { i1: Int8Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

// about: what is known of the model; packed: its arrays, compressed, in base64. Returns a model with
// start(), step(id), logProbs(), save() and restore(saved).
export async function openModel(about, packed) {
  const arrays = await unpack(about.arrays, packed), V = about.characters.length;
  const counts = about.contexts === undefined ? null : new Ngram(V, arrays, about.contexts);
  if (!about.network) return counts;
  const network = await Network.open(about.network, V, arrays, arrays.kernels);
  return counts ? new Mixture(network, counts, about.shares) : network;
}

async function unpack(list, packed) {
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer(), arrays = {};
  let at = 0;
  for (const [name, type, length] of list) {
    const Type = TYPES[type], size = length * Type.BYTES_PER_ELEMENT;
    arrays[name] = new Type(buffer.slice(at, at + size));
    at += size;
  }
  // A matrix in steps of its columns' scales.
  for (const name of Object.keys(arrays)) {
    const scale = arrays[`${name}.scale`];
    if (scale) arrays[name] = Float32Array.from(arrays[name], (q, i) => q * scale[i % scale.length]);
  }
  return arrays;
}
