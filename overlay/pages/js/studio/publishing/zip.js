// A ZIP file of some small texts, stored as they are (PKWARE APPNOTE §4.3).

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const DATE = (2026 - 1980) << 9 | 1 << 5 | 1; // any one will do
const UTF8 = 1 << 11;

/** files: {path: text}. A Blob of type application/zip. */
export function zip(files) {
  const bodies = [], directory = [];
  let offset = 0;
  for (const [path, text] of Object.entries(files)) {
    const name = new TextEncoder().encode(path), data = new TextEncoder().encode(text);
    const common = [u16(20), u16(UTF8), u16(0), u16(0), u16(DATE), u32(crc32(data)), u32(data.length), u32(data.length), u16(name.length), u16(0)];
    const entry = [u32(0x04034b50), ...common, name, data];
    directory.push(u32(0x02014b50), u16(20), ...common, u16(0), u16(0), u16(0), u32(0), u32(offset), name);
    bodies.push(...entry);
    offset += size(entry);
  }
  const count = Object.keys(files).length;
  const end = [u32(0x06054b50), u16(0), u16(0), u16(count), u16(count), u32(size(directory)), u32(offset), u16(0)];
  return new Blob([...bodies, ...directory, ...end], { type: "application/zip" });
}

const u16 = (value) => new Uint8Array([value, value >>> 8]);
const u32 = (value) => new Uint8Array([value, value >>> 8, value >>> 16, value >>> 24]);
const size = (parts) => parts.reduce((sum, part) => sum + part.length, 0);

function crc32(data) {
  let crc = -1;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}
