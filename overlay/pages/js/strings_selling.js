// Words of the studio about products, cards, stock and orders.

export const selling = {
  en: {},
  zh: {},
};
