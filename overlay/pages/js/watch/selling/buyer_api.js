// A viewer's requests over HTTP: orders, their payments, what he gave last time.

import { bearer, requestJson } from "../../problem.js";

export class BuyerApi {
  #token;

  /** token: a ViewerToken. */
  constructor(token) {
    this.#token = token;
  }

  /** The JSON of the answer. `key` goes as Idempotency-Key. Throws Problem. */
  async json(url, { method = "GET", body, key } = {}) {
    const headers = { ...bearer(await this.#token.get()) };
    if (key) headers["Idempotency-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    return requestJson(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  }

  /** `path` below the order, "" for itself. */
  order(id, path = "", options = {}) {
    return this.json(`/v1/orders/${encodeURIComponent(id)}${path}`, options);
  }
}
