// Keeps "12 minutes left" and "3 minutes ago" true while a page stays open.
const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"]];

function span(seconds) {
  for (const [size, name] of UNITS) {
    if (seconds >= size) {
      const number = Math.floor(seconds / size);
      return `${number} ${name}${number > 1 ? "s" : ""}`;
    }
  }
  return "less than a minute";
}

// The server says how many seconds it is; counting on from there needs no right clock in this browser.
export function refresh(root = document) {
  for (const node of root.querySelectorAll("time[data-clock]")) {
    if (!node.dataset.seen) node.dataset.seen = String(Date.now());
    const gone = (Date.now() - Number(node.dataset.seen)) / 1000;
    const seconds = Number(node.dataset.seconds);
    if (node.dataset.clock === "ago") {
      const since = seconds + gone;
      node.textContent = since < 60 ? "just now" : `${span(since)} ago`;
    } else {
      const rest = seconds - gone;
      node.textContent = rest <= 0 ? `${span(-rest)} overdue` : `${span(rest)} left`;
      node.classList.toggle("left-over", rest <= 0);
      node.classList.toggle("left-soon", rest > 0 && rest <= 900);
      node.classList.toggle("left-calm", rest > 900);
    }
  }
}

export function tick() {
  refresh();
  setInterval(() => refresh(), 20000);
}
