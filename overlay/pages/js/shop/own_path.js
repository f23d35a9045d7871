// Paths that a link asks to be led to: only those of this site, whatever the link says.

const HERE = "http://here.invalid";

/** `text` if it is a path of this site (with query and fragment), else `otherwise`. */
export function ownPath(text, otherwise = null) {
  if (typeof text !== "string" || !/^\/(?![/\\])/.test(text)) return otherwise;
  try {
    // Browsers drop tabs and line ends before they read a URL: "/\t/elsewhere" is another site too.
    const url = new URL(text, HERE);
    return url.origin === HERE ? url.pathname + url.search + url.hash : otherwise;
  } catch {
    return otherwise;
  }
}
