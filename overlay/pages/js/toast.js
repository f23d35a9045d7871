// A short word at the foot of the page that goes away by itself.

const SHOWN_MS = 3000;

/** A function that shows a text in `element`. */
export function startToast(element) {
  let timer = null;
  return (text) => {
    element.textContent = text;
    element.dataset.shown = "";
    clearTimeout(timer);
    timer = setTimeout(() => delete element.dataset.shown, SHOWN_MS);
  };
}
