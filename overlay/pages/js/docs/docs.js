// The API's page: the OpenAPI document of this server, for people. What it says is put in as text, never as HTML.

import { copy } from "../copy.js";
import { startLanguage, t } from "../language.js";
import { Problem, requestJson } from "../problem.js";
import { startToast } from "../toast.js";

const DOCUMENT = "/v1/openapi.json";
const METHODS = ["get", "post", "put", "patch", "delete"];
const AUTHS = { public: "docs_public", viewer: "docs_viewer", watcher: "docs_watcher", stream_key: "docs_stream_key" };
const TOKENS = { public: null, watcher: null, viewer: "$TOKEN", stream_key: "$STREAM_KEY" };
const HEADERS = { "If-Match": `'If-Match: "1"'`, "Idempotency-Key": '"Idempotency-Key: $KEY"' };
const LIMITS = {
  format: "",
  minimum: "≥",
  exclusiveMinimum: ">",
  maximum: "≤",
  minLength: "minLength:",
  maxLength: "maxLength:",
  pattern: "pattern:",
  minItems: "minItems:",
  maxItems: "maxItems:",
  default: "default:",
};
const NESTED_MOST = 5;
const WIDE = "(min-width: 60rem)";

const $ = (id) => document.getElementById(id);
let described = null; // the document, once it is here
let operations = []; // {id, method, path, said, words, item, entry}
let toast = () => {};

const make = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
};
const code = (text) => make("code", {}, text);

// -- words of the document: paragraphs, lists and `code` of Markdown ------------------------------

function inline(text) {
  return text.split("`").map((part, at) => (at % 2 ? code(part) : part.replace(/\s+/g, " ")));
}

function prose(text) {
  return text.split(/\n{2,}/).map((block) => {
    if (!block.startsWith("- ")) return make("p", {}, ...inline(block));
    return make("ul", {}, ...block.slice(2).split(/\n- /).map((item) => make("li", {}, ...inline(item))));
  });
}

// -- schemas --------------------------------------------------------------------------------------

function resolve(schema) {
  const { $ref, ...rest } = schema;
  return $ref ? { ...described.components.schemas[$ref.split("/").pop()], ...rest } : schema;
}

function choices(schema) {
  return schema.anyOf ?? schema.oneOf ?? [schema];
}

function typeOf(schema) {
  const whole = resolve(schema);
  if (whole.anyOf || whole.oneOf) return choices(whole).map(typeOf).join(" | ");
  if ("const" in whole) return JSON.stringify(whole.const);
  if (whole.enum) return whole.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (whole.type === "array") return `[${typeOf(whole.items ?? {})}]`;
  if (whole.type === "object" && whole.properties) return whole.title ?? "object";
  if (whole.additionalProperties?.type) return `{string: ${typeOf(whole.additionalProperties)}}`;
  return [whole.type ?? "any"].flat().join(" | ");
}

function limits(schema) {
  const parts = [schema, ...choices(schema)].map(resolve);
  const found = Object.assign({}, ...parts.toReversed());
  return Object.entries(LIMITS)
    .filter(([name]) => found[name] !== undefined && found[name] !== null)
    .map(([name, sign]) => `${sign} ${name === "default" ? JSON.stringify(found[name]) : found[name]}`.trim());
}

// Rows of a table: the members of an object, those inside of them under dotted names.
function rows(schema, head = "", trail = []) {
  if (trail.length > NESTED_MOST || (schema.$ref && trail.includes(schema.$ref))) return [];
  const whole = resolve(schema);
  const behind = schema.$ref ? [...trail, schema.$ref] : trail;
  if (whole.anyOf || whole.oneOf) {
    const tables = choices(whole).map((each) => rows(each, head, behind));
    const filled = tables.filter((each) => each.length > 0);
    return filled.flatMap((each, at) => (at && !head ? [null, ...each] : each));
  }
  if (whole.type === "array") return rows(whole.items ?? {}, `${head}[]`, behind);
  return Object.entries(whole.properties ?? {}).flatMap(([name, member]) => {
    const full = head ? `${head}.${name}` : name;
    const own = { name: full, schema: member, required: (whole.required ?? []).includes(name) };
    return [{ ...own, words: resolve(member).description }, ...rows(member, full, behind)];
  });
}

function table(members, mark = required) {
  const head = ["docs_name", "docs_type", "docs_meaning"].map((key) => make("th", { scope: "col" }, t(key)));
  const or = () => make("tr", { className: "or" }, make("td", { colSpan: 3 }, t("docs_or")));
  const lines = members.map((member) => (member === null ? or() : row(member, mark)));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines));
}

const required = (member) => (member.required ? t("docs_required") : null);
const optional = (member) => (member.required ? null : t("docs_optional"));

function row(member, mark) {
  const { name, schema, place, words } = member;
  const facts = [place, mark(member)].filter(Boolean).map((fact) => make("span", { className: "fact" }, fact));
  const bounds = limits(schema).join(" · ");
  return make("tr", {},
    make("th", { scope: "row" }, code(name), ...facts),
    make("td", { className: "type" }, typeOf(schema)),
    make("td", {}, words ? make("p", {}, ...inline(words)) : null, bounds ? make("p", { className: "limits" }, bounds) : null));
}

// -- one operation --------------------------------------------------------------------------------

function part(key, ...children) {
  return children.length ? [make("h4", {}, t(key)), ...children] : [];
}

function content(held, mark) {
  return Object.entries(held ?? {}).flatMap(([kind, { schema = {} }]) => {
    const members = rows(schema);
    const { description } = resolve(schema);
    return [
      make("p", { className: "kind" }, code(kind)),
      ...(description ? [make("div", { className: "prose" }, ...prose(description))] : []),
      ...(members.length ? [table(members, mark)] : []),
    ];
  });
}

function who(said) {
  const auth = said["x-auth"];
  if (auth in AUTHS) return make("p", {}, t(AUTHS[auth]));
  const [before, after] = t("docs_act", { act: "\n" }).split("\n");
  return make("p", {}, before, code(auth), after);
}

function replies({ said }) {
  const good = Object.entries(said.responses).filter(([status]) => status < "4");
  return good.flatMap(([status, { description, headers, content: held }]) => [
    make("p", { className: "status" }, code(status), ` ${description}`),
    ...(headers ? [headersOf(headers)] : []),
    ...content(held, optional),
  ]);
}

function headersOf(headers) {
  return make("p", { className: "kind" }, `${t("docs_headers")}: `, ...Object.keys(headers).flatMap((name) => [code(name), " "]));
}

function refusals({ said }) {
  const refused = Object.entries(said.responses).filter(([, reply]) => reply["x-codes"]);
  const items = refused.map(([status, reply]) => {
    return make("li", {}, code(status), ...reply["x-codes"].map((each) => make("span", {}, each)));
  });
  return items.length ? [make("ul", { className: "refusals" }, ...items)] : [];
}

function example(operation) {
  const text = "101" in operation.said.responses ? socketOf(operation) : curlOf(operation);
  const button = make("button", { type: "button", className: "again" }, t("docs_copy"));
  button.addEventListener("click", async () => {
    if (await copy(text)) toast(t("copied"));
  });
  return [make("pre", { tabIndex: 0, className: "curl" }, text), button];
}

function parameters({ said }) {
  const members = said.parameters.map((each) => {
    const wanted = each.required && each.in !== "path"; // of a path everything is
    return { name: each.name, schema: each.schema, required: wanted, place: each.in, words: each.description };
  });
  return members.length ? [table(members)] : [];
}

function inside(operation) {
  const { id, said } = operation;
  return make("div", { className: "inside" },
    said.description ? make("div", { className: "prose" }, ...prose(said.description)) : null,
    ...part("docs_who", who(said)),
    ...part("docs_parameters", ...parameters(operation)),
    ...part("docs_body", ...content(said.requestBody?.content)),
    ...part("docs_reply", ...replies(operation)),
    ...part("docs_refusals", ...refusals(operation)),
    ...part("docs_example", ...example(operation)),
    make("p", { className: "hint" }, `${t("docs_link")}: `, make("a", { href: `#${id}` }, id)));
}

// -- examples -------------------------------------------------------------------------------------

const variables = (path) => path.replace(/\{(\w+)\}/g, (_, name) => `$${name.toUpperCase()}`);

function socketOf({ path }) {
  const url = `\${B.replace("http", "ws")}${path.replace(/\{(\w+)\}/g, "${$1}")}?token=\${TOKEN}`;
  return `new WebSocket(\n  \`${url}\`,\n  ["hawker.v1.json"],\n)`;
}

function curlOf({ method, path, said }) {
  const auth = said["x-auth"];
  const token = auth in TOKENS ? TOKENS[auth] : "$ADMIN";
  const placed = (place) => said.parameters.filter((each) => each.in === place && each.required).map((each) => each.name);
  const query = placed("query").map((name) => `${name}=…`).join("&");
  const [kind, held] = Object.entries(said.requestBody?.content ?? {})[0] ?? [];
  return [
    `curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "$B${variables(path)}${query && `?${query}`}"`,
    ...(token ? [`-H "Authorization: Bearer ${token}"`] : []),
    ...placed("header").map((name) => `-H ${HEADERS[name] ?? `'${name}: …'`}`),
    ...data(kind, held),
  ].join(" \\\n  ");
}

function data(kind, held) {
  if (!kind) return [];
  if (kind === "multipart/form-data") return ["-F file=@picture.jpg"];
  const type = `-H 'Content-Type: ${kind}'`;
  if (held.example === undefined) return [type, "--data-binary @body"];
  return [type, `-d '${JSON.stringify(held.example, null, 2).replaceAll("'", "'\\''")}'`];
}

// -- the page -------------------------------------------------------------------------------------

function read() {
  operations = Object.entries(described.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => method in methods).map((method) => {
      const said = methods[method];
      return { id: said.operationId, method, path, said, words: wordsOf(method, path, said) };
    }));
}

function wordsOf(method, path, said) {
  const codes = Object.values(said.responses).flatMap((reply) => reply["x-codes"] ?? []);
  const all = [method, path, said.operationId, said.summary, said.tags[0], said["x-auth"], said.description ?? "", ...codes];
  return all.join(" ").toLowerCase();
}

function methodChip({ method }) {
  return make("span", { className: `method ${method}` }, method.toUpperCase());
}

function item(operation, open) {
  const says = make("span", { className: "says" }, ...inline(operation.said.summary));
  const line = make("summary", {}, methodChip(operation), code(operation.path), says);
  const element = make("details", { className: "operation", id: operation.id, open }, line);
  const fill = () => element.children.length === 1 && element.append(inside(operation));
  if (open) fill();
  element.addEventListener("toggle", () => element.open && fill());
  return element;
}

function entry(operation) {
  const says = make("span", {}, ...inline(operation.said.summary));
  return make("li", {}, make("a", { href: `#${operation.id}` }, methodChip(operation), says));
}

function show() {
  if (described === null) return;
  const open = new Set([...document.querySelectorAll(".operation[open]")].map((each) => each.id));
  for (const each of operations) Object.assign(each, { item: item(each, open.has(each.id)), entry: entry(each) });
  const held = ({ name }) => operations.filter((each) => each.said.tags[0] === name);
  $("operations").replaceChildren(...described.tags.map((tag) =>
    make("section", { className: "tag" }, ...titleOf(tag), ...held(tag).map((each) => each.item))));
  $("toc").replaceChildren(...described.tags.map((tag) =>
    make("section", {}, make("h2", {}, tag.name), make("ul", {}, ...held(tag).map((each) => each.entry)))));
  introduce();
  filter();
}

function introduce() {
  const { info, components } = described;
  $("version").textContent = `${info.title} ${info.version}`;
  $("about").replaceChildren(...prose(info.description));
  $("callers").replaceChildren(...Object.entries(components.securitySchemes).flatMap(([name, { description }]) =>
    [make("dt", {}, code(name)), make("dd", {}, ...prose(description))]));
  $("shell").textContent = [
    `B=${location.origin}`,
    "ADMIN=…   # or an API key",
    "TOKEN=…   # a viewer token",
    "KEY=…     # new for each act",
  ].join("\n");
}

function titleOf({ name, description }) {
  return [make("h2", {}, name), ...(description ? [make("p", { className: "hint" }, description)] : [])];
}

function filter() {
  const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const each of operations) {
    const hidden = !wanted.every((word) => each.words.includes(word));
    each.item.hidden = each.entry.hidden = hidden;
  }
  for (const section of document.querySelectorAll("#operations > section, #toc > section")) {
    section.hidden = !section.querySelector(".operation:not([hidden]), li:not([hidden])");
  }
  const count = operations.filter((each) => !each.item.hidden).length;
  $("intro").hidden = wanted.length > 0;
  $("nothing").hidden = count > 0;
  $("matches").textContent = t("docs_matches", { count, all: operations.length });
}

function goToLinked() {
  const linked = operations.find((each) => `#${each.id}` === location.hash);
  if (!linked) return;
  if (linked.item.hidden) {
    $("filter").value = "";
    filter();
  }
  if (!matchMedia(WIDE).matches) $("contents").open = false;
  linked.item.open = true;
  linked.item.scrollIntoView();
}

async function load() {
  try {
    described = await requestJson(DOCUMENT);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    $("problem").hidden = false;
    return;
  }
  $("problem").hidden = true;
  read();
  show();
  goToLinked();
}

function start() {
  startLanguage(show);
  toast = startToast($("toast"));
  $("contents").open = matchMedia(WIDE).matches;
  $("file").href = DOCUMENT;
  $("filter").addEventListener("input", filter);
  $("again").addEventListener("click", () => void load());
  window.addEventListener("hashchange", goToLinked);
  void load();
}

start();
