// The field for a product's picture: chosen, shown at once, and on the server before the form is.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { dataUrl, shrunk, upload } from "./picture.js";
import { wordsOf } from "./selling_words.js";

const FILE_BYTES_MOST = 40 << 20; // what a phone's browser decodes without falling over

const $ = (id) => document.getElementById(id);

export class PictureField {
  #session;
  #sending = null; // the promise of the picture's id, null while none is chosen
  #controller = new AbortController();
  #problem = null;

  constructor(session) {
    this.#session = session;
    const field = $("picture-file");
    field.addEventListener("change", () => field.files[0] && this.take(field.files[0]));
    $("picture-remove").addEventListener("click", () => this.clear());
    const drop = $("picture-drop");
    drop.addEventListener("dragover", (event) => event.preventDefault());
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
    });
  }

  /** The id of the picture once it is there, null without one. Throws Problem. */
  async id() {
    const sending = this.#sending;
    try {
      return await sending;
    } catch (error) {
      if (sending === this.#sending || error.code !== "aborted") throw error;
      return this.id(); // another one was chosen meanwhile
    }
  }

  take(file) {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#problem = null;
    this.#sending = this.#send(file, this.#controller.signal);
    this.#sending.catch(() => {}); // shown here; the form meets it again
  }

  clear() {
    this.#controller.abort();
    this.#sending = null;
    this.#problem = null;
    $("picture-file").value = "";
    this.#show({ picture: null, part: null });
  }

  showWords() {
    $("picture-problem").textContent = this.#problem ? wordsOf(this.#problem) : "";
    $("picture-problem").hidden = this.#problem === null;
    $("picture-word").textContent = t($("picture-shown").hidden ? "sell_picture_choose" : "sell_picture_other");
  }

  async #send(file, signal) {
    try {
      if (file.size > FILE_BYTES_MOST) throw new Problem("picture_too_large");
      const small = await shrunk(file);
      const picture = await dataUrl(small);
      if (signal.aborted) throw new Problem("aborted");
      this.#show({ picture, part: 0 });
      const onProgress = (part) => this.#show({ part });
      const { id } = await this.#session.signed((headers) => upload(small, { headers, onProgress, signal }));
      this.#show({ part: null });
      return id;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code !== "aborted") this.#fail(error);
      throw error;
    }
  }

  #fail(problem) {
    this.#sending = null;
    $("picture-file").value = "";
    this.#problem = problem;
    this.#show({ picture: null, part: null });
  }

  // picture: a URL, null for none, undefined for the one there is. part: how much has been sent, null when not sending.
  #show({ picture, part }) {
    if (picture !== undefined) {
      if (picture) $("picture-shown").src = picture;
      else $("picture-shown").removeAttribute("src");
      $("picture-shown").hidden = $("picture-remove").hidden = !picture;
      $("picture-empty").hidden = Boolean(picture);
    }
    $("picture-progress").hidden = part === null;
    if (part !== null) $("picture-progress").value = part;
    this.showWords();
  }
}
