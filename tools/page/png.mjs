// Makes a PNG of a browser smaller without changing a pixel: pictures of text compress better
// without prediction (PNG specification, third edition, sections 9 and 12.7).

import { crc32, deflateSync, inflateSync } from "node:zlib";

/** The same picture: 8 bits a channel, not interlaced, which is what browsers write. */
export function smaller(png) {
  const { header, data } = parts(png);
  const height = header.readUInt32BE(4);
  const channels = { 2: 3, 6: 4 }[header[9]];
  if (header[8] !== 8 || header[12] !== 0 || channels === undefined) return png;
  const stride = header.readUInt32BE(0) * channels;
  const lines = inflateSync(data);
  for (let row = 0; row < height; row += 1) undo(lines, row, stride, channels);
  const chunks = [
    ["IHDR", header],
    ["IDAT", deflateSync(lines, { level: 9 })],
    ["IEND", Buffer.alloc(0)],
  ];
  const again = Buffer.concat([
    png.subarray(0, 8),
    ...chunks.map(([kind, body]) => chunk(kind, body)),
  ]);
  return again.length < png.length ? again : png;
}

function parts(png) {
  let header;
  const data = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const kind = png.toString("latin1", at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    if (kind === "IHDR") header = body;
    if (kind === "IDAT") data.push(body);
    at += 12 + length;
  }
  return { header, data: Buffer.concat(data) };
}

/** Turns one line, whose first byte names its filter, into one without. */
function undo(lines, row, stride, channels) {
  const start = row * (stride + 1) + 1;
  const filter = lines[start - 1];
  lines[start - 1] = 0;
  for (let place = 0; place < stride; place += 1) {
    const at = start + place;
    const left = place < channels ? 0 : lines[at - channels];
    const above = row === 0 ? 0 : lines[at - stride - 1];
    const corner = place < channels || row === 0 ? 0 : lines[at - stride - 1 - channels];
    lines[at] += [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
  }
}

function paeth(left, above, corner) {
  const [a, b, c] = [left, above, corner].map((value) => Math.abs(left + above - corner - value));
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

function chunk(kind, body) {
  const named = Buffer.concat([Buffer.from(kind, "latin1"), body]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(body.length, 0);
  ends.writeUInt32BE(crc32(named), 4);
  return Buffer.concat([ends.subarray(0, 4), named, ends.subarray(4)]);
}
