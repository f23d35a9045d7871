// Lists whose items stay the same elements while what they show does: so focus does, and what was typed in them.

import { arrange } from "../template.js";

/** Show `values` in `list`: `make(value)` gives the element of one that is new or changed. */
export function showKeyed(list, values, make) {
  const kept = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = values.map((value) => {
    const key = `${document.documentElement.lang} ${JSON.stringify(value)}`;
    const item = kept.get(key) ?? make(value);
    item.dataset.key = key;
    return item;
  });
  arrange(list, items);
}
