"use strict";
// Tables sort by the heading that is clicked; utterances are found, filtered and sorted.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const rows = [...table.tBodies[0].rows].sort((one, other) => compare(value(one), value(other)));
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  });
}

function compare(one, other) {
  const [a, b] = [parseFloat(one), parseFloat(other)];
  if (!isNaN(a) && !isNaN(b)) return a - b;
  if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
  return one.localeCompare(other);
}

const list = document.getElementById("list");
if (list) {
  const [find, show, order, count] = ["find", "show", "order", "count"].map((name) =>
    document.getElementById(name),
  );
  const cards = [...list.children];
  const errors = new Map(cards.map((card) => [card, card.dataset.errors.split(" ").map(Number)]));
  const kinds = {
    all: () => true,
    differ: (card) => new Set(errors.get(card)).size > 1,
    audio: (card) => card.querySelector("audio") !== null,
  };
  const keys = {
    errors: (card) => -errors.get(card).reduce((sum, one) => sum + one, 0),
    spread: (card) => Math.min(...errors.get(card)) - Math.max(...errors.get(card)),
    longest: (card) => -card.dataset.duration,
  };
  const update = () => {
    const wanted = find.value.trim().toLocaleLowerCase();
    const system = /^system-(\d+)$/.exec(show.value);
    const kind = system ? (card) => errors.get(card)[system[1]] > 0 : kinds[show.value];
    let shown = 0;
    for (const card of cards) {
      card.hidden = !(kind(card) && card.textContent.toLocaleLowerCase().includes(wanted));
      shown += !card.hidden;
    }
    const by = /^system-(\d+)$/.exec(order.value);
    const key = by ? (card) => -errors.get(card)[by[1]] : keys[order.value];
    list.append(...[...cards].sort((one, other) => key(one) - key(other)));
    count.textContent = `${shown} of ${cards.length} shown`;
  };
  find.addEventListener("input", update);
  show.addEventListener("change", update);
  order.addEventListener("change", update);
  update();
}

// One recording is heard at a time.
document.addEventListener(
  "play",
  (event) => {
    for (const other of document.querySelectorAll("audio")) {
      if (other !== event.target) other.pause();
    }
  },
  true,
);
