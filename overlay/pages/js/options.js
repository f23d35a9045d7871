// A product's options (Size: S, M, L) and the SKUs they make: one for each combination.

export const SKUS_MOST = 100; // of one product, the server's limit
export const OPTION_CHARS = 60;

/** The values of a list typed with commas of any keyboard, each once and in its order. */
export function parseValues(text) {
  const values = text.split(/[,，、;；\n]/).map((value) => value.trim());
  return [...new Set(values.filter(Boolean))];
}

/** {name: value} for each combination of [{name, values}], the last name changing fastest; [{}] without any. */
export function combinations(options) {
  return options.reduce(
    (made, { name, values }) => made.flatMap((one) => values.map((value) => ({ ...one, [name]: value }))),
    [{}],
  );
}

/** A combination in words: "M / red"; "" for a product that comes in one kind. */
export function optionWords(options) {
  return Object.values(options ?? {}).join(" / ");
}
