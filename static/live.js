// Listens to what changes and tells it without moving what one reads: a line's state changes in its place, new lines only announce themselves.
import { refresh } from "./clock.js";

let source = null;
let fresh = 0;
let counting = 0;

export function follow(body) {
  if (!body.dataset.events || !window.EventSource) return;
  const open = () => { if (!source && !document.hidden) connect(body.dataset.events); };
  const close = () => { if (source) { source.close(); source = null; } };
  // A browser allows few connections to one address; pages in the background give theirs back.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  // Somebody who leafs through the queue quickly should not take a place for each page they pass.
  const moving = document.querySelector('[data-state="APPROVED"], [data-state="EXECUTING"]');
  setTimeout(open, moving ? 0 : 1200);
  if (moving) soon(moving.dataset.proposal, 0);
}

function connect(address) {
  source = new EventSource(address);
  source.addEventListener("hello", () => { count(); catchUp(); });
  source.addEventListener("message", (event) => {
    let told;
    try { told = JSON.parse(event.data); } catch { return; }
    if (told.kind === "proposal") proposal(told);
    if (told.kind === "run") run(told);
    count();
  });
  source.addEventListener("error", () => {
    if (source && source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(() => { if (!source && !document.hidden) connect(address); }, 30000);
    }
  });
}

// What happened between the page and its first event was told to nobody here.
function catchUp() {
  document.querySelectorAll("[data-status][data-proposal]").forEach((place) => { status(place).catch(() => {}); });
}

// After a click the answer is a second away: ask for it besides listening, in case nobody tells.
function soon(id, tries) {
  const place = document.querySelector(`[data-status][data-proposal="${CSS.escape(id)}"]`);
  if (!place || !/^(APPROVED|EXECUTING)$/.test(place.dataset.state) || tries > 6) return;
  setTimeout(async () => { await status(place); soon(id, tries + 1); }, 400 * 2 ** tries);
}

async function fragment(address) {
  const answer = await fetch(address, { headers: { "X-Requested-With": "fragment" } });
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
}

async function proposal(told) {
  const places = document.querySelectorAll(`[data-proposal="${CSS.escape(told.subject)}"]`);
  if (!places.length) {
    if (told.state === "PENDING") announceNew();
    return;
  }
  for (const place of places) {
    if (place.dataset.status) await status(place);
    else await line(place, told.subject);
  }
}

async function status(place) {
  const next = await fragment(place.dataset.status);
  if (!next || !place.isConnected) return;
  if (next.dataset.state === place.dataset.state && next.dataset.version === place.dataset.version) return;
  const was = place.dataset.state, version = place.dataset.version;
  const held = place.contains(document.activeElement);
  place.replaceWith(next);
  refresh(next);
  if (held) next.querySelector("a")?.focus();
  if (was === "PENDING" && (next.dataset.state !== was || next.dataset.version !== version)) {
    document.querySelectorAll("[data-moved]").forEach((note) => { note.hidden = false; });
    document.querySelectorAll("[data-decide] button, [data-edit] button[type=submit]").forEach((button) => { button.disabled = true; });
  }
  say(next.querySelector(".chip")?.textContent);
}

async function line(place, id) {
  const list = place.closest("[data-row]");
  if (!list) return;
  const next = await fragment(list.dataset.row.replace("ID", encodeURIComponent(id)));
  if (!next) return;
  place.querySelector("[data-row-state]")?.replaceWith(next);
  refresh(place);
}

function run(told) {
  const head = document.querySelector(`[data-run="${CSS.escape(told.subject)}"]`);
  if (head) document.querySelectorAll("[data-moved]").forEach((note) => { note.hidden = false; });
}

function announceNew() {
  const pill = document.querySelector("[data-fresh]");
  if (!pill || document.querySelector("[data-queue]")?.dataset.queue !== "1") return;
  fresh += 1;
  pill.querySelector("a").textContent = `${fresh} new — refresh`;
  pill.hidden = false;
  say(`${fresh} new in the queue`);
}

function count() {
  if (counting) return;
  counting = setTimeout(async () => {
    counting = 0;
    const answer = await fetch(document.body.dataset.counts, { headers: { "X-Requested-With": "fragment" } }).catch(() => null);
    if (answer?.ok) show(await answer.json());
  }, 700);
}

function show(counts) {
  for (const node of document.querySelectorAll("[data-count]")) {
    const number = counts[node.dataset.count];
    if (number === undefined) continue;
    node.textContent = number > counts.cap ? `${counts.cap.toLocaleString("en")}+` : String(number);
    node.hidden = number === 0;
    node.classList.toggle(node.dataset.count === "unknown" ? "count-alarm" : "count-hot", number > 0);
  }
  const bare = document.title.replace(/^\(\d[\d,]*\+?\) /, "");
  if (/^Queue /.test(bare)) document.title = counts.pending ? `(${counts.pending > counts.cap ? "1,000+" : counts.pending}) ${bare}` : bare;
}

function say(words) {
  const place = document.querySelector("[data-announce]");
  if (place && words) place.textContent = words;
}
