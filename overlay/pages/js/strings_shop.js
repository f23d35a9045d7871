// Words of the shop, of the order page, of the sandbox's payment page and of the login.

export const shop = {
  en: {},
  zh: {},
};
