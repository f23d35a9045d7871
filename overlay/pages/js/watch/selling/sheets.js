// Sheets that slide over the show while it goes on: modal dialogs, so the keyboard stays inside and Escape closes.

/** Wire the close button and the backdrop; `onClose` is called whichever way the sheet closes. */
export function startSheet(sheet, onClose = () => {}) {
  sheet.querySelector("[data-close]").addEventListener("click", () => sheet.close());
  sheet.addEventListener("click", (event) => event.target === sheet && outside(sheet, event) && sheet.close());
  sheet.addEventListener("close", onClose);
}

/** Show it, unless it is shown. */
export function openSheet(sheet) {
  if (!sheet.open) sheet.showModal();
}

function outside(sheet, { clientX, clientY }) {
  const { left, right, top, bottom } = sheet.getBoundingClientRect();
  return clientX < left || clientX > right || clientY < top || clientY > bottom;
}
