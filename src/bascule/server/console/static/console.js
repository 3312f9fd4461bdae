"use strict";
// The little that HTML and htmx do not do: open a passage as a dialog, and ask on Enter.
document.addEventListener("htmx:afterSwap", (event) => {
  const dialog = document.getElementById("passage");
  if (event.detail.target.id === "passage-body" && !dialog.open) dialog.showModal();
  const mark = event.detail.target.querySelector("mark");
  if (mark) mark.scrollIntoView({ block: "center" });
});
document.addEventListener("click", (event) => {
  const dialog = document.getElementById("passage");
  if (!dialog || !dialog.open) return;
  if (event.target.closest("[data-close]") || event.target === dialog) dialog.close();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (!event.target.matches("[data-enter-submits]")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-change-submits]")) event.target.form.requestSubmit();
});
// Jobs that are under way: their events move the bar; at the end the card is fetched anew, with its reasons.
function follow(card) {
  const at = card.dataset.follow;
  const events = new EventSource(`${at}/events`);
  let first = null;
  const show = (event) => {
    const job = JSON.parse(event.data);
    const counts = Object.entries(job.counts);
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    const waiting = (job.counts.queued || 0) + (job.counts.running || 0);
    const finished = total - waiting;
    first = first || { finished, at_ms: performance.now() };
    const pace = (1000 * (finished - first.finished)) / (performance.now() - first.at_ms);
    card.querySelector("progress").value = total ? (100 * finished) / total : 100;
    card.querySelector("[data-counts]").textContent = `${finished} of ${total}`;
    if (pace > 0) card.querySelector("[data-pace]").textContent = `· ${pace.toFixed(1)} a second, about ${Math.ceil(waiting / pace)} s left`;
  };
  const leave = () => { events.close(); delete card.dataset.followed; };
  events.addEventListener("progress", (event) => (card.isConnected ? show(event) : leave()));
  events.addEventListener("end", (event) => {
    show(event);
    leave();
    if (card.isConnected) htmx.ajax("GET", `${at}/card`, { target: card, swap: "outerHTML" });
  });
  addEventListener("pagehide", leave);
}
function followAll() {
  for (const card of document.querySelectorAll("[data-follow]:not([data-followed])")) {
    card.dataset.followed = "";
    follow(card);
  }
}
document.addEventListener("DOMContentLoaded", () => {
  followAll();
  for (const drawing of document.querySelectorAll(".scroll > .trend")) drawing.parentElement.scrollLeft = drawing.scrollWidth; // the newest
  const here = document.querySelector(".places [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - 16;
});
document.addEventListener("htmx:afterSettle", followAll);
document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-select-all]")) event.target.select();
});
