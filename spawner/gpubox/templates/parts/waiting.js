// The waiting page: follows a start to its end, cancels it, and outlives a restart of the hub.
const page = document.getElementById("waiting");
const { serverUrl, progressUrl } = page.dataset;
const [headline, detail, bar, log, cancelButton, cancelNote, again] =
  ["headline", "detail", "bar", "log", "cancel", "cancel-note", "again"].map((id) =>
    document.getElementById(id),
  );
const steps = [...page.querySelectorAll(".gb-steps li")];
const stepOfPhase = { image: 0, waiting: 0, leased: 1, creating: 1, starting: 2, ready: 3 };
const hubRun = (root) => root.querySelector('meta[name="gpubox-hub-run"]')?.content;

const headers = { "X-XSRFToken": window.jhdata.xsrf_token };
const silence = 15_000; // milliseconds after which a connection is held for lost
let stream = null; // aborts what is listened to; null where nothing is
let cancelling = false;
let latest = { message: detail.textContent, progress: 0 };

// --- the hub's side ---------------------------------------------------------------------------

// The hub's answer, or null where it does not answer: its proxy then says 5xx or, when both have just
// started, 404. Only what the hub itself says bears its version.
async function ask(method, url) {
  const signal = method === "GET" ? AbortSignal.timeout(silence) : null;
  try {
    const answer = await fetch(url, { method, cache: "no-store", headers, signal });
    if (!answer.headers.has("X-JupyterHub-Version")) return null;
    return answer.status >= 500 && method === "GET" ? null : answer;
  } catch {
    return null;
  }
}

// What the hub knows about the server now, or null where it does not answer.
async function serverNow() {
  const answer = await ask("GET", serverUrl);
  if (answer === null) return null;
  if (answer.status === 404) return { stopped: true };
  if (!answer.ok) {
    location.reload(); // logged out, most likely: the hub asks to log in and comes back here
    return new Promise(() => {});
  }
  return answer.json();
}

// Whether Jupyter itself answers. The hub's word is not enough: for a second after a cancel it
// calls the server ready (jupyterhub.spawner.Spawner.ready).
async function jupyterAnswers(url) {
  if (new URL(url, location).origin !== location.origin) return true;
  const answer = await fetch(new URL("api", new URL(url, location)), { cache: "no-store" }).catch(() => null);
  return answer !== null && answer.ok;
}

async function hubHasRestarted() {
  const answer = await fetch(location.pathname, { cache: "no-store" }).catch(() => null);
  if (answer === null) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  return hubRun(fresh) !== hubRun(document);
}

async function sentenceOf(answer) {
  const body = await answer.json().catch(() => ({}));
  return body.message || `the hub answered ${answer.status}`;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// --- following a start ------------------------------------------------------------------------

async function listen() {
  const mine = (stream = new AbortController());
  try {
    for await (const event of eventsOf(mine)) {
      hear(event);
      if (stream !== mine) return;
    }
  } catch {
    // Broken off: the same as an end with nothing said.
  }
  if (stream === mine) reconnect();
}

function stopListening() {
  stream?.abort();
  stream = null;
}

// The hub's events. Not an EventSource: that does not notice that a hub was killed behind its
// proxy, which keeps the connection open. The hub writes an empty line every 8 seconds
// (jupyterhub.apihandlers.users.SpawnProgressAPIHandler), so silence tells.
async function* eventsOf(controller) {
  let watchdog = 0;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => controller.abort(), silence);
  };
  try {
    heard();
    const answer = await fetch(progressUrl, { cache: "no-store", headers, signal: controller.signal });
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
      }
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function hear(event) {
  if (event.ready || event.failed) stopListening();
  if (cancelling) return; // confirmStopped has the last word
  if (event.ready) confirmReady();
  else if (event.failed && event.message === "Spawn cancelled") cancelled();
  else if (event.failed) failed(event.message);
  else draw(event);
}

// The stream has ended with "ready": it does so after a cancel in another window, too.
async function confirmReady() {
  while (!cancelling) {
    const server = await serverNow();
    if (cancelling) return;
    if (server === null) return reconnect();
    if (server.stopped) return cancelled();
    if (server.pending === "spawn") return listen();
    if (server.ready && (await jupyterAnswers(server.url))) return cancelling || open();
    await pause(250);
  }
}

// The connection is lost: the hub may be restarting. It keeps the choice, and the place in line.
async function reconnect() {
  // Not said before the hub was asked: a start that fails at once leaves nothing to listen to, too.
  for (let round = 0; !cancelling; round++) {
    if (round === 1)
      show("reconnecting", "Reconnecting…", "The hub does not answer at the moment. Your place in line is kept.");
    await pause(round ? 1000 : 250);
    const server = await serverNow();
    if (server === null) continue;
    if (cancelling) return;
    if (server.pending === "spawn") return resumeListening();
    if (server.pending || server.ready) return confirmReady();
    // It stopped while nobody listened. Only a hub that has forgotten the start is asked again;
    // a start that failed or was cancelled has a page of its own.
    if (!(await hubHasRestarted())) return location.reload();
    if (cancelling) return;
    const answer = await ask("POST", serverUrl);
    if (answer?.ok) return resumeListening();
    if (answer && answer.status < 500) return failed(await sentenceOf(answer));
  }
}

function resumeListening() {
  record("Connected again");
  listen();
}

async function cancel() {
  cancelling = true;
  cancelButton.disabled = true;
  cancelNote.textContent = "";
  show("cancelling", "Cancelling…", "Giving back what was reserved for you.");
  for (;;) {
    const answer = await ask("DELETE", serverUrl);
    if (answer?.ok || answer?.status === 404) return confirmStopped();
    if (answer && answer.status < 500) return keepGoing(await sentenceOf(answer));
    await pause(1000); // the hub restarts: what was asked for is still wanted
  }
}

async function confirmStopped() {
  for (;;) {
    const server = await serverNow();
    // Starting again already: somebody has asked anew, in another window.
    if (server?.stopped || server?.pending === "spawn") return cancelled();
    await pause(250);
  }
}

function keepGoing(reason) {
  cancelling = false;
  cancelButton.disabled = false;
  cancelNote.textContent = `Not cancelled: ${reason}`;
  draw(latest);
  listen();
}

// --- what the person sees ---------------------------------------------------------------------

function show(state, head, words) {
  page.dataset.state = state;
  if (headline.textContent !== head) headline.textContent = head;
  if (detail.textContent !== words) detail.textContent = words;
  document.title = `${head} · gpubox`;
}

function draw(event) {
  latest = { ...event, progress: event.progress ?? latest.progress };
  record(event.message);
  bar.setAttribute("aria-valuenow", latest.progress);
  bar.firstElementChild.style.width = `${latest.progress}%`;
  const current = stepOfPhase[event.phase];
  if (current !== undefined) mark(current);
  if (event.place) drawPlace(event);
  else show("starting", "Starting your machine", event.message ?? "");
}

function drawPlace({ place, waiting, message }) {
  const number = ordinal(place);
  const others = waiting > 1 ? `${waiting} people are waiting.` : "You are the only one waiting.";
  // The number stands large above: the sentence goes on without it.
  const rest = message.replace(/^\S+ in line[,;.]?\s*/, "");
  const sentence = rest && `${rest[0].toUpperCase()}${rest.slice(1)}`.replace(/[^.!?]$/, "$&.");
  show("waiting", `${number} in line`, `${sentence} ${others}`.trim());
  const large = document.createElement("span");
  large.className = "gb-place";
  large.textContent = number;
  headline.replaceChildren(large, " in line");
}

function ordinal(number) {
  const suffix = { one: "st", two: "nd", few: "rd", other: "th" };
  return number + suffix[new Intl.PluralRules("en", { type: "ordinal" }).select(number)];
}

function mark(current) {
  steps.forEach((step, index) => {
    step.className = index < current ? "is-done" : "";
    if (index === current) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
}

function record(message) {
  if (!message || log.lastElementChild?.querySelector("span").textContent === message) return;
  const entry = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  const words = document.createElement("span");
  words.textContent = message;
  entry.append(time, words);
  log.append(entry);
}

function over(state, head, words) {
  stopListening();
  record(words);
  show(state, head, words);
  again.focus();
}

function cancelled() {
  over("cancelled", "Cancelled", "Nothing is reserved for you, and nothing runs.");
}

function failed(message) {
  // "Spawn failed: 503 SpawnException(reason=x): sentence" and "HTTP 500: words (sentence)"
  const sentence = (message ?? "")
    .replace(/^Spawn failed:?\s*/, "")
    .replace(/^\d{3} \w+\(reason=.*?\): /, "")
    .replace(/^HTTP \d{3}: [^(]*\((.*)\)$/s, "$1");
  again.textContent = "Try again";
  over("failed", "Your machine could not be started", sentence || "The hub gave no reason. Try again, or ask the admin.");
}

function open() {
  mark(4);
  bar.firstElementChild.style.width = "100%";
  show("ready", "Ready", "Opening your machine.");
  location.reload(); // the hub sends this page on to the server, or to where the person was going
}

cancelButton.addEventListener("click", cancel);
// A page that is left breaks its connection itself; one that is come back to begins anew.
addEventListener("pagehide", stopListening);
addEventListener("pageshow", (event) => event.persisted && location.reload());
cancelButton.hidden = false;
listen();
window._jupyterhub_page_loaded = true;
