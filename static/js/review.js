// Keys of the study page's AI results: they act on the result that has the focus, and are letters while something is typed.
const panels = [...document.querySelectorAll("[data-review]")];
const help = document.querySelector("[data-keys]");
const said = document.querySelector("[data-keys-said]");
const isTyping = (target) => target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]") !== null;
const focused = () => document.activeElement.closest("[data-review]");

// A reason that is being chosen is arrow keys and Enter; anything that is open closes with Escape and gives the focus back.
const open = (details) => {
  details.open = true;
  (details.querySelector("input:checked") || details.querySelector("input:not([type=hidden]), select, textarea")).focus();
};
const act = (key) => {
  const panel = focused();
  if (!panel) {
    said.textContent = said.dataset.choose;
    panels[0].focus();
    return;
  }
  const control = panel.querySelector(`[data-key="${key}"]`);
  said.textContent = control ? "" : said.dataset.none;
  if (control && control.matches("details")) open(control);
  else if (control) control.click();
};
const walk = (step) => {
  const at = panels.indexOf(focused());
  panels[Math.max(0, Math.min(panels.length - 1, at < 0 ? 0 : at + step))].focus();
};
const KEYS = { y: () => act("y"), x: () => act("x"), e: () => act("e"), z: () => act("z"), n: () => walk(1), p: () => walk(-1), "?": () => help.showModal() };

document.addEventListener("keydown", (event) => {
  if (!help || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Escape") {
    const details = event.target.closest("details[data-key][open]");
    if (details) { details.open = false; details.querySelector("summary").focus(); }
    return;
  }
  if (event.repeat || isTyping(event.target) || !KEYS[event.key] || (event.target.matches("input") && event.key !== "?")) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.querySelector("[data-keys-open]")?.addEventListener("click", () => help.showModal());

// One press, one verdict: a second click while the first is on its way would be refused as an older version.
document.querySelectorAll(".mh-review form").forEach((form) => form.addEventListener("submit", (event) => {
  if (form.dataset.isSent) event.preventDefault();
  form.dataset.isSent = "1";
}));
addEventListener("pageshow", () => document.querySelectorAll(".mh-review form").forEach((form) => delete form.dataset.isSent));

// After a decision the panel that it was about has the focus again; after a refusal the form that is open.
const wanted = document.querySelector(".mh-panel [role=alert]");
if (wanted) (wanted.closest("details") ? open(wanted.closest("details")) : wanted.closest("[data-review]").focus());
else if (location.hash.startsWith("#report-")) document.getElementById(location.hash.slice(1))?.focus();
