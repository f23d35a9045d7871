// "Other platforms": where the room's stream is sent besides, how each is, and starting and stopping them.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { arrange, stamp } from "../../template.js";
import { wordsOf } from "../selling/selling_words.js";

const EVERY_MS = 2000;
const WRITE = "restreams.write";

const STATES = {
  idle: ["restream_idle", ""],
  connecting: ["restream_connecting", "warn"],
  live: ["restream_live", "good"],
  retrying: ["restream_retrying", "warn"],
  failed: ["restream_failed", "bad"],
  stopped: ["restream_stopped", ""],
};
const ERRORS = {
  address: "restream_error_address",
  certificate: "restream_error_certificate",
  closed: "restream_error_closed",
  codec: "restream_error_codec",
  key_refused: "restream_error_key_refused",
  protocol: "restream_error_protocol",
  refused: "restream_error_refused",
  rendition: "restream_error_rendition",
  slow: "restream_error_slow",
  unreachable: "restream_error_unreachable",
};
const TROUBLED = new Set(["retrying", "failed", "connecting"]);

const $ = (id) => document.getElementById(id);

export class RestreamsPanel {
  #url;
  #session;
  #items = null; // the last answer
  #rows = new Map();
  #says = ""; // why something was not done
  #timer = null;

  constructor({ room, session }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}/restreams`;
    this.#session = session;
    $("restream-new").addEventListener("click", () => this.#open($("restream-form").hidden));
    $("restream-cancel").addEventListener("click", () => this.#open(false));
    $("restream-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    session.onChange(() => void this.#ask());
    this.showWords();
  }

  showWords() {
    $("restreams-card").hidden = this.#items === null;
    $("restream-new").hidden = !this.#session.may(WRITE);
    $("restreams-problem").hidden = this.#says === "";
    $("restreams-problem").textContent = this.#says;
    const items = this.#items ?? [];
    $("restreams-empty").hidden = items.length > 0;
    arrange(
      $("restream-list"),
      items.map((item) => this.#row(item)),
    );
  }

  async #ask() {
    clearTimeout(this.#timer);
    if (!this.#session.may("rooms.inspect")) this.#items = null;
    else if (!document.hidden || this.#items === null) {
      try {
        this.#items = (await this.#session.send(this.#url)).items;
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
      }
    }
    this.showWords();
    clearTimeout(this.#timer); // another may have asked meanwhile
    if (this.#session.may("rooms.inspect")) this.#timer = setTimeout(() => void this.#ask(), EVERY_MS);
  }

  #row(item) {
    let row = this.#rows.get(item.id);
    if (!row) {
      row = stamp("restream-row");
      row.querySelector(".toggle").addEventListener("click", () => void this.#toggle(item.id));
      row.querySelector(".delete").addEventListener("click", () => void this.#delete(item.id));
      this.#rows.set(item.id, row);
    }
    this.#fill(row, item);
    return row;
  }

  #fill(row, { name, url, key_hint, rendition, enabled, health }) {
    const [words, tone] = STATES[health.state];
    const facts = [
      rendition || t("restream_source"),
      url.replace(/^rtmps?:\/\//, "").replace(/\/.*/, ""),
      key_hint && t("restream_key_ends", { hint: key_hint }),
      health.bitrate_bps > 0 && `${(health.bitrate_bps / 1e6).toFixed(2)} Mbit/s`,
      health.frames_skipped > 0 && t("restream_skipped", { count: health.frames_skipped }),
      health.reconnects > 0 && t("restream_reconnects", { count: health.reconnects }),
    ];
    row.dataset.state = health.state;
    put(row, ".restream-name", name);
    put(row, ".restream-state", t(words));
    row.querySelector(".restream-state").dataset.tone = tone;
    put(row, ".restream-facts", facts.filter(Boolean).join(" · "));
    const error = TROUBLED.has(health.state) ? ERRORS[health.error_code] : undefined;
    put(row, ".restream-error", error ? t(error) : "");
    row.querySelector(".restream-error").title = error ? health.last_error : "";
    put(row, ".toggle", t(enabled ? "restream_stop" : "restream_start"));
    for (const button of row.querySelectorAll("button")) button.hidden = !this.#session.may(WRITE);
  }

  #open(open) {
    $("restream-form").hidden = !open;
    $("restream-new").setAttribute("aria-expanded", String(open));
    this.#says = "";
    this.showWords();
    (open ? $("restream-name") : $("restream-new")).focus();
  }

  async #make() {
    const [name, url, key] = ["name", "url", "key"].map((field) => $(`restream-${field}`).value.trim());
    if (!name || !url || !key) {
      this.#says = t("restream_fields");
      return void this.showWords();
    }
    const body = { name, url, key, rendition: $("restream-rendition").value };
    if (!(await this.#act("", { method: "POST", body }))) return;
    $("restream-form").reset();
    this.#open(false);
  }

  async #toggle(id) {
    const { enabled } = this.#items.find((item) => item.id === id);
    await this.#act(`/${id}/${enabled ? "stop" : "start"}`, { method: "POST" });
  }

  async #delete(id) {
    const { name } = this.#items.find((item) => item.id === id);
    if (!confirm(t("restream_sure", { name }))) return;
    if (await this.#act(`/${id}`, { method: "DELETE" })) this.#rows.delete(id);
  }

  /** Whether it was done; the list is asked for again. */
  async #act(path, options) {
    this.#says = "";
    try {
      await this.#session.send(this.#url + path, options);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#says = wordsOf(error);
    }
    const done = this.#says === "";
    await this.#ask();
    return done;
  }
}

// Written only where it has changed, so that a screen reader says a new state once.
function put(row, selector, words) {
  const element = row.querySelector(selector);
  if (element.textContent !== words) element.textContent = words;
}
