// Elements made by a module, where no <template> of the page has them.

const tag = () => document.documentElement.lang || "en";

/** An element with attributes, and children that are elements or texts; null among them is left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button that calls `act`. */
export function button(words, act, attributes = {}) {
  const made = element("button", { type: "button", class: "button", ...attributes }, words);
  made.addEventListener("click", act);
  return made;
}

/** A moment (RFC 3339) in words of the page's language. */
export function moment(text) {
  const format = new Intl.DateTimeFormat(tag(), { dateStyle: "medium", timeStyle: "short" });
  return element("time", { datetime: text }, format.format(new Date(text)));
}
