// Reading MessagePack (github.com/msgpack/msgpack, spec.md), as far as JSON has the value: no bytes, no extensions.
//
// What comes from a network is bounded: size, depth, and no list may claim more items than there are bytes left.

const BYTES_MAX = 1 << 20; // the server keeps no more for one viewer
const DEPTH_MAX = 24;

const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The value of `buffer` (ArrayBuffer or Uint8Array), which it has to fill. Throws RangeError for anything else. */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength);
  if (bytes.length > BYTES_MAX) throw new RangeError("msgpack: too long");
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.left > 0) throw new RangeError("msgpack: bytes after the end");
  return value;
}

// By the first byte, from 0xc0 on; 0xc1 is never used, 0xc4–0xc9 and 0xd4–0xd8 are bytes and extensions.
const READ = {
  0xc0: () => null,
  0xc2: () => false,
  0xc3: () => true,
  0xca: (from) => from.view.getFloat32(from.take(4)),
  0xcb: (from) => from.view.getFloat64(from.take(8)),
  0xcc: (from) => from.view.getUint8(from.take(1)),
  0xcd: (from) => from.view.getUint16(from.take(2)),
  0xce: (from) => from.view.getUint32(from.take(4)),
  0xcf: (from) => exact(from.view.getBigUint64(from.take(8))),
  0xd0: (from) => from.view.getInt8(from.take(1)),
  0xd1: (from) => from.view.getInt16(from.take(2)),
  0xd2: (from) => from.view.getInt32(from.take(4)),
  0xd3: (from) => exact(from.view.getBigInt64(from.take(8))),
  0xd9: (from) => from.text(from.view.getUint8(from.take(1))),
  0xda: (from) => from.text(from.view.getUint16(from.take(2))),
  0xdb: (from) => from.text(from.view.getUint32(from.take(4))),
  0xdc: (from, depth) => from.list(from.view.getUint16(from.take(2)), depth),
  0xdd: (from, depth) => from.list(from.view.getUint32(from.take(4)), depth),
  0xde: (from, depth) => from.map(from.view.getUint16(from.take(2)), depth),
  0xdf: (from, depth) => from.map(from.view.getUint32(from.take(4)), depth),
};

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.#bytes.length - this.#at;
  }

  /** Where the next `count` bytes begin, which are read with that. */
  take(count) {
    if (count > this.left) throw new RangeError("msgpack: cut off");
    const at = this.#at;
    this.#at += count;
    return at;
  }

  value(depth) {
    if (depth > DEPTH_MAX) throw new RangeError("msgpack: too deep");
    const first = this.view.getUint8(this.take(1));
    if (first < 0x80) return first;
    if (first < 0x90) return this.map(first & 0x0f, depth);
    if (first < 0xa0) return this.list(first & 0x0f, depth);
    if (first < 0xc0) return this.text(first & 0x1f);
    if (first >= 0xe0) return first - 0x100;
    const read = READ[first];
    if (!read) throw new RangeError(`msgpack: 0x${first.toString(16)} is not for us`);
    return read(this, depth);
  }

  text(length) {
    const at = this.take(length);
    try {
      return text.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw new RangeError("msgpack: text that is not UTF-8");
    }
  }

  list(count, depth) {
    if (count > this.left) throw new RangeError("msgpack: cut off");
    return Array.from({ length: count }, () => this.value(depth + 1));
  }

  map(count, depth) {
    if (count * 2 > this.left) throw new RangeError("msgpack: cut off");
    return Object.fromEntries(Array.from({ length: count }, () => [this.#key(depth), this.value(depth + 1)]));
  }

  #key(depth) {
    const key = this.value(depth + 1);
    if (typeof key !== "string") throw new RangeError("msgpack: a key that is not text");
    return key;
  }
}

function exact(big) {
  const number = Number(big);
  if (!Number.isSafeInteger(number)) throw new RangeError("msgpack: an integer beyond 2**53");
  return number;
}
