// "Files on the air": which of the server's films the room plays while nobody is live, and what plays now.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { arrange, stamp } from "../../template.js";
import { wordsOf } from "../selling/selling_words.js";

const EVERY_MS = 3000;

const $ = (id) => document.getElementById(id);

export class ChannelPanel {
  #url;
  #session;
  #seen = null; // the last answer
  #chosen = null; // names of files in the order they play; null until the first answer
  #says = ""; // why something was not done
  #timer = null;

  constructor({ room, session }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}/channel`;
    this.#session = session;
    $("channel-add").addEventListener("click", () => this.#add());
    $("channel-stop").addEventListener("click", () => void this.#act({ method: "DELETE" }));
    $("channel-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#play();
    });
    session.onChange(() => void this.#ask());
    this.showWords();
  }

  showWords() {
    const seen = this.#seen;
    $("channel-card").hidden = seen === null;
    if (seen === null) return;
    const state = stateOf(seen);
    if ($("channel-state").textContent !== state) $("channel-state").textContent = state;
    $("channel-state").dataset.live = String(seen.state === "playing");
    const problem = this.#says || (seen.problem ? t("channel_problem", { problem: seen.problem }) : "");
    $("channel-problem").hidden = problem === "";
    if ($("channel-problem").textContent !== problem) $("channel-problem").textContent = problem;
    const may = this.#session.may("rooms.write");
    $("channel-stop").hidden = !may || seen.state === null;
    $("channel-form").hidden = !may || seen.available.length === 0;
    $("channel-folder").hidden = seen.available.length > 0;
    this.#showFiles(seen.available);
    this.#showList();
  }

  #showFiles(available) {
    const select = $("channel-file");
    if (available.join("\n") === [...select.options].map(({ value }) => value).join("\n")) return;
    const before = select.value;
    select.replaceChildren(...available.map((name) => new Option(name, name)));
    if (available.includes(before)) select.value = before;
  }

  #showList() {
    $("channel-list-box").hidden = this.#chosen.length === 0;
    arrange(
      $("channel-list"),
      this.#chosen.map((name, place) => this.#row(name, place)),
    );
  }

  #row(name, place) {
    const row = $("channel-list").children[place];
    const words = JSON.stringify([document.documentElement.lang, name, place]);
    if (row?.dataset.words === words) return row;
    const made = stamp("channel-row");
    made.dataset.words = words;
    made.querySelector(".channel-name").textContent = name;
    const earlier = made.querySelector(".up");
    earlier.disabled = place === 0;
    earlier.ariaLabel = earlier.title = t("channel_earlier", { file: name });
    earlier.addEventListener("click", () => this.#move(place, -1));
    const out = made.querySelector(".remove");
    out.ariaLabel = out.title = t("channel_take_out", { file: name });
    out.addEventListener("click", () => this.#take(place));
    return made;
  }

  #add() {
    if ($("channel-file").value) this.#chosen = [...this.#chosen, $("channel-file").value];
    this.#says = "";
    this.showWords();
  }

  #move(place, by) {
    const moved = [...this.#chosen];
    const [name] = moved.splice(place, 1);
    moved.splice(place + by, 0, name);
    this.#chosen = moved;
    this.showWords();
    this.#focus(place + by, ".up");
  }

  #take(place) {
    this.#chosen = this.#chosen.filter((_, at) => at !== place);
    this.showWords();
    this.#focus(Math.min(place, this.#chosen.length - 1), ".remove");
  }

  // Whoever uses the keyboard stays at the file that was moved, or at the next one.
  #focus(place, selector) {
    const row = $("channel-list").children[place];
    const button = row?.querySelector(`${selector}:enabled`) ?? row?.querySelector(".remove");
    (button ?? $("channel-file")).focus();
  }

  async #play() {
    if (this.#chosen.length === 0) {
      this.#says = t("channel_empty");
      return this.showWords();
    }
    const at = $("channel-start").value; // in the clock of this device
    const body = { files: this.#chosen, loop: $("channel-loop").checked, starts_at: at ? new Date(at).toISOString() : null };
    await this.#act({ method: "PUT", body });
  }

  async #act(options) {
    this.#says = "";
    try {
      await this.#session.send(this.#url, options);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#says = wordsOf(error);
    }
    await this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    if (!this.#session.may("rooms.inspect")) this.#seen = this.#chosen = null;
    else if (!document.hidden || this.#seen === null) {
      try {
        this.#takeAnswer(await this.#session.send(this.#url));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
      }
    }
    this.showWords();
    clearTimeout(this.#timer); // another may have asked meanwhile
    if (this.#session.may("rooms.inspect")) this.#timer = setTimeout(() => void this.#ask(), EVERY_MS);
  }

  #takeAnswer(seen) {
    this.#seen = seen;
    if (this.#chosen !== null) return;
    this.#chosen = seen.files;
    $("channel-loop").checked = seen.loop;
  }
}

function stateOf({ state, files, item, starts_at }) {
  if (state === null) return t("channel_none");
  if (state === "ended") return t("channel_ended");
  if (state === "waiting" && starts_at) {
    const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    return t("channel_waiting", { time: format.format(new Date(starts_at)) });
  }
  if (item === null) return t("channel_starting");
  return t("channel_playing", { file: files[item], place: item + 1, count: files.length });
}
