// What the page of somebody signed in does by itself: the reason dialog, dismissing, dark and light.
// Everything that matters is decided by the server; nothing here is trusted by it.
"use strict";

const byId = (id) => document.getElementById(id);
const dialog = byId("reason");

// --- the reason dialog ---
const openDialog = (button) => {
  const from = button.closest("form");
  const to = dialog.querySelector("form");
  for (const name of ["revision", "digest", "on"]) to.elements[name].value = from.elements[name].value;
  to.elements.verb.value = button.dataset.verb;
  to.setAttribute("action", from.getAttribute("action"));
  to.dataset.post = from.getAttribute("action");
  const label = button.firstChild.textContent.trim();
  byId("reason-title").textContent = label;
  byId("reason-what").textContent = button.dataset.what;
  byId("reason-label").textContent = button.dataset.asks;
  byId("reason-send").textContent = label;
  byId("reason-send").className = button.dataset.verb === "reject" ? "primary danger" : "primary";
  byId("reason-text").value = "";
  dialog.showModal();
  byId("reason-text").focus();
};
if (dialog) {
  byId("reason-cancel").addEventListener("click", () => dialog.close());
  byId("reason-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.target.form.requestSubmit(); }
  });
  // Where it goes differs with each press, so it is sent from here and not by an attribute.
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const values = Object.fromEntries(new FormData(form));
    byId("reason-send").disabled = true;
    htmx.ajax("POST", form.dataset.post, { target: "#notice", swap: "innerHTML", values })
      .finally(() => { byId("reason-send").disabled = false; dialog.close(); });
  });
}

// --- one listener for everything that is clicked: parts of the page come and go ---
let pressed = null;
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  pressed = button.closest(".item, .line-item")?.id ?? pressed;
  if (button.dataset.asks !== undefined) openDialog(button);
  if (button.dataset.dismiss !== undefined) { byId("notice").replaceChildren(); byId("main").focus({ preventScroll: true }); }
});

// --- a page that changes while somebody aims ---
const live = byId("live");
const shape = () => [...document.querySelectorAll("#live .item, #live .line-item")].map((one) => one.id).join(" ");
let before = live ? shape() : "";
let calm;
if (live) {
  new MutationObserver(() => {
    const now = shape();
    if (now !== before) {
      // Cards came or went, so what is under the pointer may be another one: no press counts for a moment.
      before = now;
      live.dataset.moved = "yes";
      clearTimeout(calm);
      calm = setTimeout(() => { delete live.dataset.moved; }, 600);
    }
    // A card that was settled loses its buttons, and with them the keyboard's place: give it to the card.
    if (pressed && document.activeElement === document.body && !dialog?.open) {
      const item = byId(pressed) ?? byId("main");
      item.focus({ preventScroll: true });
      pressed = null;
    }
  }).observe(live, { childList: true, subtree: true });
}

// --- whether the page is live ---
document.addEventListener("htmx:error", () => { document.body.dataset.live = "no"; });
document.addEventListener("htmx:after:request", () => { document.body.dataset.live = "yes"; });

// --- dark and light ---
byId("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.scheme = dark ? "light" : "dark";
  try { localStorage.setItem("countersign-scheme", root.dataset.scheme); } catch { /* holds for this page only */ }
});
