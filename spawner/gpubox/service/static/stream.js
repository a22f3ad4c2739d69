// @ts-check
// The service's events, for as long as the page is open: a lost connection comes back by itself.
import { headers, here } from "./api.js";

// Not an EventSource: that gives up for good where a proxy answers in place of a service that starts anew, and
// does not notice one that was killed behind a proxy which keeps the connection open. The service writes at
// least every KEEP_ALIVE (service/api.py), so silence tells.
const SILENCE = 20_000;
const ANSWER = 10_000; // a proxy whose service is gone may let one wait for ever
const PATIENCE = 1_500;
const LONGEST_PAUSE = 5_000;
const RELOADED = "gpubox-reloaded-at";
const RELOAD_AGAIN = 60_000;

/** @typedef {"connected" | "reconnecting" | "logged out"} Connection */

/**
 * @param {string} path
 * @param {(name: string, told: any) => void} hear
 * @param {(connection: Connection) => void} tell
 */
export async function follow(path, hear, tell) {
  const leaving = new AbortController();
  addEventListener("pagehide", () => leaving.abort());
  // Brought back by the browser as it was left: begin anew.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  let failures = 0;
  let late = 0;
  while (!leaving.signal.aborted) {
    const answer = await listen(path, leaving.signal, (name, told) => {
      failures = 0;
      clearTimeout(late);
      late = 0;
      tell("connected");
      hear(name, told);
    });
    if (leaving.signal.aborted) return;
    if (answer === 401 || answer === 403) {
      if (mayReload()) return location.reload(); // the hub asks to log in where that is needed, and comes back here
      clearTimeout(late);
      return tell("logged out");
    }
    // Not said at once: a connection that ends is most often there again in a moment.
    late ||= setTimeout(() => tell("reconnecting"), PATIENCE);
    await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** failures, LONGEST_PAUSE)));
    failures += 1;
  }
}

// One connection, to its end. Returns the answer's status; 0 where there was none.
/**
 * @param {string} path
 * @param {AbortSignal} leaving
 * @param {(name: string, told: any) => void} hear
 */
async function listen(path, leaving, hear) {
  const connection = new AbortController();
  const end = () => connection.abort();
  leaving.addEventListener("abort", end);
  let watchdog = setTimeout(end, ANSWER);
  try {
    const answer = await fetch(here + path, { cache: "no-store", headers, signal: connection.signal });
    if (!answer.ok || !answer.body) return answer.status;
    clearTimeout(watchdog);
    watchdog = setTimeout(end, SILENCE);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return answer.status;
      clearTimeout(watchdog);
      watchdog = setTimeout(end, SILENCE);
      const blocks = (text + value).split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const found = /^event: (.+)\ndata: (.*)$/.exec(block);
        if (found) hear(found[1] ?? "", JSON.parse(found[2] ?? "null"));
      }
    }
  } catch {
    return 0;
  } finally {
    clearTimeout(watchdog);
    leaving.removeEventListener("abort", end);
  }
}

// Once: a page that the hub refuses again and again must not load itself for ever.
function mayReload() {
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  sessionStorage.setItem(RELOADED, String(Date.now()));
  return Date.now() - last > RELOAD_AGAIN;
}
