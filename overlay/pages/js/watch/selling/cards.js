// The cards that are pinned: which there are, which is the large one, and when one comes on the screen.

const CARDS = 30; // a host pins a few; more than these are not reachable by thumb

export class Cards {
  #gate;
  #onChange;
  #cards = []; // the newest first
  #shown = null; // the id of the large one; null: none, the viewer has put it away

  /** gate: a FrameGate. onChange({news}): the cards have changed; `news` is the one that has just come, or null. */
  constructor({ gate, onChange }) {
    this.#gate = gate;
    this.#onChange = onChange;
  }

  /** All cards, the newest first. */
  get all() {
    return this.#cards;
  }

  /** The large one, or null. */
  get shown() {
    return this.#cards.find(({ id }) => id === this.#shown) ?? null;
  }

  /** `hello`'s cards: those pinned before we came are on the screen already. */
  reset(cards) {
    const before = new Set(this.#cards.map(({ id }) => id));
    const first = this.#cards.length === 0;
    this.#cards = [...cards].sort(newestFirst).slice(0, CARDS);
    const news = this.#cards[0] && !before.has(this.#cards[0].id) ? this.#cards[0] : null;
    if (news) this.#shown = news.id;
    else this.#settle();
    this.#onChange({ news: first ? null : news });
  }

  /** `card.pinned`, whose envelope's `mt` says on which frame. An earlier card of the same product goes. */
  pin(card, mt) {
    this.#gate.at(card.id, mt, () => {
      const others = this.#cards.filter(({ id, product_id }) => id !== card.id && product_id !== card.product_id);
      this.#cards = [card, ...others].slice(0, CARDS);
      this.#shown = card.id;
      this.#onChange({ news: card });
    });
  }

  /** `card.unpinned`. */
  unpin(id) {
    this.#gate.drop(id);
    this.#cards = this.#cards.filter((card) => card.id !== id);
    this.#settle();
    this.#onChange({ news: null });
  }

  /** Make this one the large one; null puts it away until the next is pinned. */
  show(id) {
    this.#shown = id;
    this.#onChange({ news: null });
  }

  // The large one was unpinned: the newest of the others follows.
  #settle() {
    if (this.#shown !== null && this.shown === null) this.#shown = this.#cards[0]?.id ?? null;
  }
}

function newestFirst(one, other) {
  return other.pinned_at.localeCompare(one.pinned_at);
}
