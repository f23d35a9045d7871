// A product's picture on its way to the server: made small here, so that a phone's photo takes a second and not a minute.

import { CODE_BY_STATUS, Problem } from "../../problem.js";

const SIDE_MOST = 1600; // pixels; more than a card ever shows
const SMALL_BYTES = 400_000; // goes as it is
const QUALITY = 0.88;
const UPLOAD_MS = 60_000;

export const PICTURE_TYPES = ["image/jpeg", "image/png", "image/webp"];

/** The file, or a smaller JPEG of it where the browser can make one. */
export async function shrunk(file) {
  if (file.size <= SMALL_BYTES || !PICTURE_TYPES.includes(file.type)) return file;
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, SIDE_MOST / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // a JPEG has no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    return small && small.size < file.size ? small : file;
  } catch {
    return file; // not a picture that this browser reads: the server says what it thinks of it
  }
}

/** A data: URL to show the picture by, also where blob: is forbidden. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Problem("picture_broken", { detail: String(reader.error) })));
    reader.readAsDataURL(blob);
  });
}

/** Send it with `headers`: {id, url} of the server's picture. `onProgress(0…1)`. Throws Problem; `signal` ends it. */
export function upload(blob, { headers, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest(); // fetch tells nothing of how far it is
    const fail = (code, status = 0, detail = "") => reject(new Problem(code, { status, detail }));
    sending.open("POST", "/v1/images");
    for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
    sending.timeout = UPLOAD_MS;
    sending.responseType = "json";
    sending.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    sending.addEventListener("load", () => {
      const { status, response } = sending;
      if (status === 201 && response?.id) resolve(response);
      else fail(CODE_BY_STATUS[status] ?? response?.code ?? "refused", status, response?.detail ?? `HTTP ${status}`);
    });
    sending.addEventListener("error", () => fail("unreachable"));
    sending.addEventListener("timeout", () => fail("too_slow"));
    sending.addEventListener("abort", () => fail("aborted"));
    signal.addEventListener("abort", () => sending.abort());
    const form = new FormData();
    form.append("file", blob, "picture");
    sending.send(form);
  });
}
