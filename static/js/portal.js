// Live panels (htmx does the polling), keyboard on the worklist, the slice slider. No inline script anywhere.
const clock = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

// A live panel says when it was last told something, and says so when the stream is lost.
document.addEventListener("htmx:afterRequest", (event) => {
  const panel = event.target.closest("[data-live]");
  if (!panel) return;
  const isTold = event.detail.xhr && (event.detail.xhr.status === 304 || event.detail.successful);
  const scope = panel.closest("main");
  const updated = scope.querySelector("[data-updated]");
  const lost = scope.querySelector(".mh-lost");
  if (isTold && updated) updated.textContent = clock();
  if (lost) lost.toggleAttribute("data-is-on", !isTold);
});

// The row under the cursor keeps the focus when the rows are replaced.
let focused = null;
document.addEventListener("htmx:beforeSwap", () => { focused = document.activeElement && document.activeElement.id; });
document.addEventListener("htmx:afterSwap", () => { if (focused) document.getElementById(focused)?.focus(); });

const isTyping = (target) => /^(input|textarea|select)$/i.test(target.tagName) || target.isContentEditable;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const links = [...document.querySelectorAll("[data-row-link]")];
  if (!links.length || !["j", "k"].includes(event.key)) return;
  const at = links.indexOf(document.activeElement);
  const next = event.key === "j" ? Math.min(at + 1, links.length - 1) : Math.max(at - 1, 0);
  links[next].focus();
  event.preventDefault();
});

// One image element, its address made from the slider's value; the newest request wins.
document.querySelectorAll("[data-slices]").forEach((viewer) => {
  const image = viewer.querySelector("img");
  const slider = viewer.querySelector("input[type=range]");
  const label = viewer.querySelector("[data-slice-label]");
  if (!slider) return;
  let isBusy = false;
  let wanted = null;
  const show = (number) => {
    label.textContent = slider.dataset.words.replace("{n}", number);
    image.alt = label.textContent;
    if (isBusy) { wanted = number; return; }
    isBusy = true;
    image.src = image.dataset.source.replace(/\d+\.png$/, `${number}.png`);
  };
  const done = () => {
    isBusy = false;
    if (wanted !== null) { const number = wanted; wanted = null; show(number); }
  };
  image.addEventListener("load", done);
  image.addEventListener("error", done);
  slider.addEventListener("input", () => show(slider.value));
  viewer.addEventListener("wheel", (event) => {
    event.preventDefault();
    slider.value = Number(slider.value) + Math.sign(event.deltaY);
    show(slider.value);
  }, { passive: false });
});
