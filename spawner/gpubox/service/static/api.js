// @ts-check
// Requests to the service's API. What it refuses comes as an Error whose message is its sentence.

/** The service's address, with a slash at its end. */
export const here = window.jhdata.prefix;

/** JupyterHub wants its token with every request that a cookie speaks for, GET among them. */
export const headers = { "X-XSRFToken": window.jhdata.xsrf_token };

/** The API said no; `message` is its sentence. */
export class Refused extends Error {
  /** @param {string} sentence @param {number} status */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/**
 * @param {"GET" | "POST" | "DELETE"} method
 * @param {string} path below the service's address
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(here + path, {
      method,
      cache: "no-store",
      headers: body ? { ...headers, "Content-Type": "application/json" } : headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  } catch {
    throw new Refused("The hub cannot be reached. Try again in a moment.", 0);
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  if (answer.status === 401) throw new Refused("You are logged out: load this page again.", 401);
  const unreachable = "The hub does not answer at the moment. Try again in a moment.";
  throw new Refused(told.message || (answer.status >= 502 ? unreachable : `That did not work (${answer.status}).`), answer.status);
}

/** @param {unknown} error @returns {string} */
export function sentenceOf(error) {
  return error instanceof Error ? error.message : String(error);
}
