// Shows beside the edit form what has been changed so far, and marks each changed field.
export function watch(form) {
  const place = form.querySelector("[data-diff]");
  const fields = [...form.querySelectorAll("[data-field]")];
  const show = () => {
    const changed = [];
    for (const field of fields) {
      const input = field.querySelector("input, select, textarea");
      const was = field.querySelector("[data-was]");
      const different = input.value.replaceAll("\r\n", "\n") !== was.dataset.was.replaceAll("\r\n", "\n");
      field.classList.toggle("changed", different);
      was.querySelector("[data-marker]").textContent = different ? "was " : "now ";
      if (different) changed.push([field.querySelector("label").firstChild.textContent.trim(), words(input, was.dataset.was), words(input, input.value)]);
    }
    for (const sign of form.querySelectorAll("[data-currency-of]")) {
      const chosen = form.elements.namedItem(sign.dataset.currencyOf);
      if (chosen) sign.textContent = chosen.value.replaceAll('"', "");
    }
    place.replaceChildren(...(changed.length ? changed.map(row) : [nothing()]));
  };
  form.addEventListener("input", show);
  form.addEventListener("input", (event) => { if (event.target.checkValidity?.()) event.target.removeAttribute("aria-invalid"); });
  show(); // what was typed before this script was there counts too
}

function words(input, value) {
  if (input.tagName === "SELECT") return [...input.options].find((option) => option.value === value)?.textContent || "(not given)";
  return value || "(not given)";
}

function row([name, was, becomes], index) {
  const line = document.createElement("div");
  line.className = index ? "change mt-2" : "change";
  for (const [kind, text] of [["name", name], ["was", was], ["arrow", "→"], ["becomes", becomes]]) {
    const part = document.createElement("span");
    part.className = kind === "was" || kind === "becomes" ? `${kind} said` : kind;
    part.textContent = text;
    line.append(part);
  }
  return line;
}

function nothing() {
  const line = document.createElement("p");
  line.className = "soft";
  line.textContent = "Nothing yet.";
  return line;
}
