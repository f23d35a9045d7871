// Words of the watch page about cards, the bag, buying and chat.

export const buying = {
  en: {},
  zh: {},
};
