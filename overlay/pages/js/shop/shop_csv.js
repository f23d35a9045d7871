// Orders as a table that spreadsheets read (RFC 4180), one row for each line of an order. Demo orders are no sales.

import { majorText } from "../amount.js";

const COLUMNS = {
  order: ({ order }) => order.id,
  created_at: ({ order }) => order.created_at,
  room: ({ order }) => order.room,
  buyer: ({ order }) => order.buyer,
  state: ({ order }) => order.state,
  payment: ({ order }) => order.payment,
  fulfilment: ({ order }) => order.fulfilment,
  sku: ({ line }) => line.sku,
  title: ({ line }) => line.title,
  options: ({ line }) => Object.values(line.options).join(" / "),
  qty: ({ line }) => line.qty,
  unit: ({ line }) => majorText(line.unit),
  total: ({ line }) => majorText(line.total),
  currency: ({ line }) => line.total.currency,
  tracking: ({ order }) => order.tracking,
};
const FORMULA = /^[=+\-@\t\r]/; // spreadsheets would reckon with what a buyer typed

/** The text of the table, oldest first, with the byte order mark by which spreadsheets know UTF-8. */
export function ordersCsv(orders) {
  const real = orders.filter((order) => !order.demo).reverse();
  const lines = real.flatMap((order) => order.lines.map((line) => ({ order, line })));
  const rows = lines.map((row) => Object.values(COLUMNS).map((column) => cell(column(row))));
  return "\ufeff" + [Object.keys(COLUMNS), ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

function cell(value) {
  const text = String(value ?? "");
  const tame = typeof value === "string" && FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame;
}
