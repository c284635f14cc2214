// Keys for those who want them. They can be switched off in the help, and never work while one types.
const STORE = "copilot-keys";
const KINDS = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";

function on() {
  try { return localStorage.getItem(STORE) !== "off"; } catch { return true; }
}

export function listen() {
  const help = document.querySelector("dialog[data-keys]");
  const box = help?.querySelector("[data-keys-on]");
  if (box) {
    box.checked = on();
    box.addEventListener("change", () => {
      try { localStorage.setItem(STORE, box.checked ? "on" : "off"); } catch { /* private browsing: it lasts for this page */ }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
    if (event.target.closest?.(KINDS) || document.querySelector("dialog[open]")) return;
    if (event.key === "?" && help) { event.preventDefault(); help.showModal(); return; }
    if (!on()) return;
    const act = ACTS[event.key.toLowerCase()];
    if (act && act() !== false) event.preventDefault();
  });
}

function move(step) {
  const links = [...document.querySelectorAll("[data-item] a.main")];
  if (!links.length) return false;
  const here = links.indexOf(document.activeElement);
  const next = links[Math.min(Math.max(here + step, 0), links.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function approve() {
  const button = document.querySelector('[data-key="a"]');
  if (!button || button.disabled) return false;
  if (document.activeElement === button) button.click();
  else { button.scrollIntoView({ block: "nearest" }); button.focus(); }
  return true;
}

function press(selector) {
  const link = document.querySelector(selector);
  if (!link) return false;
  link.click();
  return true;
}

function reject() {
  const fold = document.querySelector("[data-reject]");
  if (!fold) return false;
  fold.open = true;
  (fold.querySelector("input:checked") || fold.querySelector("input[type=radio]")).focus();
  return true;
}

const ACTS = {
  j: () => move(1) || press("[data-next]"),
  k: () => move(-1),
  a: approve,
  e: () => press('[data-key="e"]'),
  r: reject,
  u: () => press("[data-back]"),
};
