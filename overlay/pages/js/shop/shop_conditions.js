// What an offer asks for beside its sum: a room, a merchant, a segment of buyers, and which offers it goes together with.

import { t } from "../language.js";
import { choices } from "./shop_choices.js";

// What is typed as a text, and how the list of offers says it.
const WORDS = {
  room: "shop_offer_of_room",
  merchant: "shop_offer_of_merchant",
  segment: "shop_offer_of_segment",
  group: "shop_offer_of_group",
};

const $ = (id) => document.getElementById(id);

/** Let one of these rooms be chosen, or all. */
export function showRooms(rooms) {
  choices($("offer-room"), [["", t("shop_offer_every_room")], ...rooms.map((room) => [room.id, room.title || room.id])]);
}

/** The members of a request that are typed; what is left out is no condition. */
export function typedConditions() {
  const typed = Object.keys(WORDS).map((name) => [name, $(`offer-${name}`).value.trim()]).filter(([, text]) => text !== "");
  return { ...Object.fromEntries(typed), ...($("offer-alone").checked && { stacks: false }) };
}

/** The conditions of an offer in words, [] for none. */
export function conditionWords(offer) {
  const named = Object.entries(WORDS).filter(([member]) => offer[member] !== null);
  const words = named.map(([member, key]) => t(key, { name: offer[member] }));
  return offer.stacks ? words : [...words, t("shop_offer_alone")];
}
