// Live panels (htmx does the polling), keyboard on the worklist, the slice slider. No inline script anywhere.
const page = document.body.dataset;
const skew = Number(page.now) * 1000 - Date.now(); // the server's clock counts, not this machine's
const serverNow = () => Date.now() + skew;
const clock = (timeZone) => new Date(serverNow()).toLocaleTimeString("en-GB", { timeZone, hourCycle: "h23" });

// htmx notes the address it was loaded at, and nothing here needs it: a signed-in page leaves nothing in the browser.
try { sessionStorage.removeItem("htmx-current-path-for-history"); } catch { /* no storage, no trace */ }

// "12 min ago" counts on while the page stays open.
const sinceWords = (seconds) => {
  const [now, minutes, hours, days] = page.sinceWords.split("|");
  if (seconds < 60) return now;
  if (seconds < 3600) return minutes.replace("{n}", Math.floor(seconds / 60));
  if (seconds < 48 * 3600) return hours.replace("{n}", Math.floor(seconds / 3600));
  return days.replace("{n}", Math.floor(seconds / 86400));
};
const sinceTell = () => document.querySelectorAll("[data-since]").forEach((element) => {
  const since = Number(element.dataset.since) || Date.parse(element.nextElementSibling.dateTime) / 1000; // the worklist says it once
  const words = sinceWords(serverNow() / 1000 - since);
  if (element.textContent !== words) element.textContent = words;
});
setInterval(sinceTell, 5000);

// A live panel says when it was last told something, and says so when the stream is lost.
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.requestConfig.elt.matches("[data-live]")) return; // event.target is its parent once the panel was swapped
  const status = event.detail.xhr ? event.detail.xhr.status : 0;
  if (status === 403 || status === 404) { location.reload(); return; } // no longer this person's list
  const isTold = status === 304 || event.detail.successful;
  const updated = document.querySelector("[data-updated]");
  if (isTold && updated) updated.textContent = clock(updated.dataset.zone);
  document.querySelector(".mh-lost")?.toggleAttribute("data-is-on", !isTold);
});

const rowLinks = () => [...document.querySelectorAll("[data-row-link]")];
document.addEventListener("htmx:beforeSwap", (event) => {
  const answered = new URL(event.detail.xhr.responseURL || location.href).pathname;
  if (answered !== new URL(event.detail.pathInfo.requestPath, location.href).pathname) {
    event.detail.shouldSwap = false; // signed out elsewhere: the answer is the sign-in page
    location.reload();
    return;
  }
  if (event.detail.target.querySelector(".mh-sure[open]")) { // a second question is open: it must not close under the hand
    event.detail.shouldSwap = false;
    return;
  }
});

const isTyping = (target) => /^(input|textarea|select)$/i.test(target.tagName) || target.isContentEditable;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const links = rowLinks();
  if (!links.length || !["j", "k"].includes(event.key)) return;
  const at = links.indexOf(document.activeElement);
  const next = event.key === "j" ? Math.min(at + 1, links.length - 1) : Math.max(at - 1, 0);
  links[next].focus();
  event.preventDefault();
});

// One image element, its address made from the slider's value; the newest request wins. What can't be drawn says so.
document.querySelectorAll("[data-slices]").forEach((viewer) => {
  const image = viewer.querySelector("img");
  if (!image) return;
  const slider = viewer.querySelector("input[type=range]");
  const label = viewer.querySelector("[data-slice-label]");
  const unseen = viewer.querySelector("[data-unseen]");
  let isBusy = false;
  let wanted = null;
  const show = (number) => {
    label.textContent = slider.dataset.words.replace("{n}", number);
    slider.setAttribute("aria-valuetext", label.textContent);
    image.alt = label.textContent;
    if (isBusy) { wanted = number; return; }
    isBusy = true;
    image.src = image.dataset.source.replace(/\d+\.png$/, `${number}.png`);
  };
  const done = (isSeen) => {
    image.hidden = !isSeen;
    unseen.hidden = isSeen;
    isBusy = false;
    if (wanted !== null) { const number = wanted; wanted = null; show(number); }
  };
  image.addEventListener("load", () => done(true));
  image.addEventListener("error", () => done(false));
  if (image.complete && !image.naturalWidth) done(false);
  if (!slider) return;
  slider.setAttribute("aria-valuetext", label.textContent);
  slider.addEventListener("input", () => show(slider.value));
  viewer.addEventListener("wheel", (event) => {
    event.preventDefault();
    const before = slider.value;
    slider.value = Number(before) + Math.sign(event.deltaY);
    if (slider.value !== before) show(slider.value);
  }, { passive: false });
});
