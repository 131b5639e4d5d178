// What the page does by itself: sending with Enter, the reason dialog, tabs, staying at the newest message.
// Everything that matters is decided by the server; nothing here is trusted by it.
"use strict";

const byId = (id) => document.getElementById(id);
const scroller = byId("scroller");
const messages = byId("messages");
const text = byId("text");
const composer = byId("composer");
const dialog = byId("reason");

// --- staying at the newest message ---
let atEnd = true;
const toEnd = () => {
  // A card that is taller than the room is read from its top.
  const last = messages.lastElementChild;
  const tall = last && last.querySelector(".card") && last.offsetHeight > scroller.clientHeight;
  scroller.scrollTop = tall ? last.offsetTop - scroller.offsetTop - 10 : scroller.scrollHeight;
};
scroller.addEventListener("scroll", () => {
  const last = messages.lastElementChild;
  const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  atEnd = below < 80 || (last !== null && scroller.scrollTop >= last.offsetTop - scroller.offsetTop - 12);
}, { passive: true });
const target = location.hash.startsWith("#m") ? byId(location.hash.slice(1)) : null;
if (target) { target.scrollIntoView({ block: "center" }); target.classList.add("sought"); atEnd = false; } else { toEnd(); }
new MutationObserver(() => { if (atEnd) toEnd(); }).observe(messages, { childList: true, subtree: true, characterData: true });
new ResizeObserver(() => { if (atEnd) toEnd(); }).observe(scroller);

// --- new rows light up, but not those that were there ---
setTimeout(() => {
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) {
      if (node.nodeType === 1 && node.matches("li")) node.animate(
        matchMedia("(prefers-reduced-motion: reduce)").matches ? [] : [
          { backgroundColor: "var(--fresh)", transform: "translateY(-6px)", opacity: 0 },
          { backgroundColor: "var(--fresh)", transform: "none", opacity: 1, offset: 0.25 },
          { backgroundColor: "transparent" },
        ], { duration: 1600, easing: "ease-out" });
    }
  }).observe(byId("trail"), { childList: true, subtree: true });
}, 1500);

// --- the message box ---
const grow = () => { text.style.height = "auto"; text.style.height = `${Math.min(text.scrollHeight + 2, 180)}px`; };
text.addEventListener("input", grow);
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (text.value.trim()) composer.requestSubmit();
  }
});
const fill = (words) => {
  text.value = words;
  grow();
  show("chat");
  text.focus();
  text.setSelectionRange(words.length, words.length);
};

// --- after a request ---
let pressed = null;
document.addEventListener("htmx:after:request", (event) => {
  const form = event.target.closest?.("form") ?? event.detail?.ctx?.sourceElement;
  const status = event.detail?.ctx?.response?.status ?? 0;
  if (status >= 400 || status === 0) return;
  if (form === composer) { text.value = ""; grow(); atEnd = true; toEnd(); }
  if (dialog.contains(form)) dialog.close();
});
document.addEventListener("htmx:error", () => {
  byId("notice").replaceChildren(Object.assign(document.createElement("p"), {
    className: "notice refused",
    textContent: "The workspace does not answer. What you typed was not sent; look whether make demo still runs.",
  }));
});
// --- whether the page is live ---
document.addEventListener("htmx:sse:after:connection", () => { document.body.dataset.live = "yes"; });
document.addEventListener("htmx:sse:error", () => { document.body.dataset.live = "no"; });
// A card that was settled loses its buttons, and with them the keyboard's place: give it to the card.
new MutationObserver(() => {
  if (pressed && document.activeElement === document.body && !dialog.open) {
    const item = byId(pressed);
    if (item && !item.querySelector("button")) { item.focus({ preventScroll: true }); pressed = null; }
  }
}).observe(messages, { childList: true, subtree: true });

// --- the reason dialog ---
const openDialog = (button) => {
  const from = button.closest("form");
  const to = dialog.querySelector("form");
  for (const name of ["message_id", "held_id", "revision", "digest"]) to.elements[name].value = from.elements[name].value;
  to.elements.verb.value = button.dataset.verb;
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
byId("reason-cancel").addEventListener("click", () => dialog.close());
byId("reason-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.target.form.requestSubmit(); }
});

// --- one listener for everything that is clicked: parts of the page come and go ---
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  pressed = button.closest(".item")?.id ?? pressed;
  if (button.dataset.fill !== undefined) fill(button.dataset.fill);
  if (button.dataset.asks !== undefined) openDialog(button);
  if (button.dataset.dismiss !== undefined) { byId("notice").replaceChildren(); text.focus(); }
  if (button.dataset.show !== undefined) show(button.dataset.show);
});

// --- narrow screens show one part at a time ---
function show(pane) {
  document.body.dataset.pane = pane;
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", String(button.dataset.show === pane));
  }
  if (pane === "chat" && atEnd) toEnd();
}

// --- tabs (https://www.w3.org/WAI/ARIA/apg/patterns/tabs/) ---
const tabs = [...document.querySelectorAll("[role=tab]")];
const choose = (tab, focus) => {
  for (const other of tabs) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) tab.focus();
  try { sessionStorage.setItem("countersign-tab", tab.id); } catch { /* not remembered then */ }
};
tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => choose(tab, false));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); choose(tabs[(to + tabs.length) % tabs.length], true); }
  });
});
try { const kept = byId(sessionStorage.getItem("countersign-tab")); if (kept) choose(kept, false); } catch { /* first tab */ }

// --- dark and light ---
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.scheme = dark ? "light" : "dark";
  try { localStorage.setItem("countersign-scheme", root.dataset.scheme); } catch { /* holds for this page only */ }
});
