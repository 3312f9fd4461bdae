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
