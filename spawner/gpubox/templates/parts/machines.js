// Keeps the figures on the cards current: the page fetches itself and swaps the words in place.
const period = 10_000;
const form = document.querySelector(".gb-machines").closest("form");
let submitted = false;

async function refresh() {
  if (document.hidden || submitted) return;
  // Without the query: JupyterHub takes query parameters of this page for options, and starts.
  const answer = await fetch(location.pathname, {
    headers: { "X-XSRFToken": window.jhdata?.xsrf_token ?? "" },
    redirect: "manual",
  });
  if (!answer.ok || submitted) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const card of form.querySelectorAll("[data-machine]")) {
    const news = fresh.querySelector(`[data-machine="${CSS.escape(card.dataset.machine)}"]`);
    if (news) show(card, news);
  }
}

function show(card, news) {
  card.dataset.state = news.dataset.state;
  for (const words of card.querySelectorAll("[data-live]")) {
    const fresh = news.querySelector(`[data-live="${words.dataset.live}"]`).textContent;
    if (words.textContent !== fresh) words.textContent = fresh;
  }
  const radio = card.querySelector("input");
  // A chosen card stays sent: with no choice at all the hub would start another machine.
  radio.disabled = news.querySelector("input").disabled && !radio.checked;
}

// A length that the chosen machine does not allow cannot be chosen.
function boundLengths() {
  const longest = Number(chosenCard()?.dataset.longest) || Infinity;
  const select = form.querySelector("#gb-shutdown");
  for (const option of select?.options ?? []) option.disabled = Number(option.dataset.seconds) > longest;
  if (select?.selectedOptions[0]?.disabled) select.value = "";
}

const chosenCard = () => form.querySelector(".gb-card:has(input:checked)");
// A container and a virtual machine of one name may both be kept: the chosen card tells which is meant.
const isOfChosen = (part) => part.dataset.engine === (chosenCard()?.dataset.engine ?? "");
const isKept = () => [...form.querySelectorAll(".gb-kept label[data-engine]")].some(isOfChosen);

// Whether a machine that is kept is to go on as it was left.
function goesOn() {
  return isKept() && form.querySelector('.gb-kept input[name="fresh"]:checked')?.value === "";
}

function showKept() {
  const kept = form.querySelector(".gb-kept");
  if (!kept) return;
  kept.hidden = !isKept();
  for (const part of kept.querySelectorAll("[data-engine]")) part.hidden = !isOfChosen(part);
  if (kept.querySelector("input:checked")?.closest("label").hidden) kept.querySelector('input[value=""]').checked = true;
}

// A template of containers starts no virtual machine, and the other way round.
function boundTemplates() {
  for (const option of templates?.options ?? []) option.disabled = option.value !== "" && !isOfChosen(option);
  if (!templates?.selectedOptions[0]?.disabled) return;
  templates.value = "";
  tellTemplate();
}

// What was left goes on as a machine that is kept, from nothing else than itself.
function boundKept() {
  const card = chosenCard();
  const fits = !goesOn() || !card || "persistent" in card.dataset;
  const words = "This machine does not keep what you installed: choose one that does, or start afresh.";
  card?.querySelector("input").setCustomValidity(fits ? "" : words);
  for (const name of ["template", "image"]) {
    const select = form.querySelector(`#gb-${name}`);
    if (select) select.disabled = goesOn();
  }
}

// A deletion is asked for twice.
function agreed() {
  const chosen = form.querySelector('.gb-kept input[name="fresh"]:checked');
  return !chosen?.value || confirm("Delete what you installed and changed in your machine, and start afresh?");
}

function bound() {
  for (const radio of form.querySelectorAll(".gb-card input")) radio.setCustomValidity("");
  boundLengths();
  boundTemplates();
  showKept();
  boundKept();
}

// The list says what each template is called; the rest of what there is to know is told of the chosen one.
function tellTemplate() {
  const chosen = templates.selectedOptions[0];
  const box = form.querySelector("#gb-template-chosen");
  box.hidden = !chosen?.value;
  box.querySelector("span").textContent = chosen?.dataset.note ?? "";
  box.querySelector("small").textContent = chosen?.dataset.facts ?? "";
}

// Choose a machine of the kind that a template is of, where the chosen one is not; whether there is one.
function chooseKind(option) {
  if (isOfChosen(option)) return true;
  const fitting = form.querySelector(`.gb-card[data-engine="${CSS.escape(option.dataset.engine)}"] input:enabled`);
  if (fitting) fitting.checked = true;
  bound();
  return Boolean(fitting);
}

// Come by a link to a template (#template=ada/torch-lab, with :2 for a version): begin with that.
function chooseLinked() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("template");
  if (!wanted) return;
  const linked = [...(templates?.options ?? [])].find(({ value }) => value === wanted || value.startsWith(`${wanted}:`));
  const isStartable = linked && chooseKind(linked);
  if (isStartable) templates.value = linked.value;
  const missing = form.querySelector("#gb-template-missing");
  missing.textContent = !linked
    ? `There is no template ${wanted} that you may start from: it was deleted, or is not shared with you.`
    : !isStartable
    ? `${wanted} is of ${linked.dataset.engine ? "virtual machines" : "containers"}, and there is none here that you may start.`
    : goesOn()
      ? `Your machine is there as you left it. To start from ${wanted} instead, choose to start afresh, or add a machine of another name on your home page.`
      : "";
  missing.hidden = !missing.textContent;
}

const templates = form?.querySelector("#gb-template");
for (const option of templates?.options ?? []) option.text = option.dataset.title ?? option.text;
if (form) chooseLinked();
if (templates) tellTemplate();
templates?.addEventListener("change", tellTemplate);
addEventListener("hashchange", () => {
  chooseLinked();
  if (templates) tellTemplate();
});

form?.addEventListener("change", bound);
form?.querySelector(".gb-kept")?.addEventListener("change", chooseLinked);
if (form) bound();
form?.addEventListener("submit", (event) => {
  if (agreed()) submitted = true;
  else {
    event.preventDefault();
    event.stopImmediatePropagation(); // the page takes a submit for a start
  }
});
// Back from the next page, the browser may show this one as it was.
addEventListener("pageshow", () => (submitted = false));
document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
setInterval(() => refresh().catch(() => {}), period);
