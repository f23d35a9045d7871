// The provider's own page in a frame of the order sheet. Which card is used stays between the buyer and the provider.

// Nothing but this server's pages may be framed: null for others. Ours is told the language that the viewer reads.
function framed(page) {
  const url = new URL(page, location.href);
  if (url.origin !== location.origin) return null;
  url.searchParams.set("lang", document.documentElement.lang.slice(0, 2));
  return url.href;
}

export class PaymentFrame {
  #frame;
  #tab;

  /** frame: an iframe. tab: the link that opens the same page by itself. */
  constructor({ frame, tab }) {
    this.#frame = frame;
    this.#tab = tab;
  }

  get shown() {
    return !this.#frame.hidden;
  }

  show(page) {
    const url = framed(page);
    const before = this.shown;
    if (url && this.#frame.getAttribute("src") !== url) this.#frame.setAttribute("src", url);
    this.#frame.hidden = url === null;
    this.#tab.href = url ?? page;
    this.#tab.hidden = false;
    if (url && !before) this.#frame.scrollIntoView({ block: "nearest" });
  }

  hide() {
    if (document.activeElement === this.#frame) this.#frame.closest("dialog").querySelector("[data-close]").focus();
    this.#frame.hidden = true;
    this.#frame.removeAttribute("src");
    this.#tab.hidden = true;
  }
}
