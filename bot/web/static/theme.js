// Runs before the page is painted, so that a chosen scheme does not flash.
"use strict";
try {
  const chosen = localStorage.getItem("countersign-scheme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.scheme = chosen;
} catch { /* storage is off: the system's scheme holds */ }
