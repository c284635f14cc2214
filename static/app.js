// What a page gains with scripts. Everything that decides works without them.
import { follow } from "./live.js";
import { tick } from "./clock.js";
import { listen } from "./keys.js";
import { watch } from "./edit.js";

follow(document.body);
tick();
listen();
document.querySelectorAll("form[data-edit]").forEach(watch);

// A second click on a button that is already on its way does nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
});
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

// On a phone, the way to the decision is not needed where the decision stands.
const jump = document.querySelector(".jump"), decide = document.querySelector("#decide");
if (jump && decide && window.IntersectionObserver) {
  new IntersectionObserver(([seen]) => { jump.hidden = seen.isIntersecting; }, { threshold: 0.2 }).observe(decide);
}

// The menu of small screens closes on Escape and when one looks elsewhere.
const menu = document.querySelector("details.menu");
if (menu) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
}
