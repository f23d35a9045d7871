// What the browser keeps for us. Storage may be refused (private windows, blocked cookies): then a value lives as long as the page.

const unkept = new Map();

export function remember(storage, key, value) {
  unkept.set(key, value);
  try {
    storage.setItem(key, value);
  } catch {
    // Refused or full: `unkept` has it.
  }
}

export function recall(storage, key) {
  try {
    return storage.getItem(key) ?? unkept.get(key) ?? null;
  } catch {
    return unkept.get(key) ?? null;
  }
}

export function forget(storage, key) {
  unkept.delete(key);
  try {
    storage.removeItem(key);
  } catch {
    // Nothing was kept there.
  }
}

/** Take `name` out of the address's fragment, and out of the address bar at once; null if it isn't there. */
export function takeFromFragment(name) {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const value = fragment.get(name);
  if (value === null) return null;
  fragment.delete(name);
  const rest = fragment.toString();
  history.replaceState(history.state, "", location.pathname + location.search + (rest && `#${rest}`));
  return value;
}
