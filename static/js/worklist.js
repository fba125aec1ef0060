// The worklist: an answer of the poll is put into the page row by row. A row that changed is written where it stands; new ones wait
// behind a button; so no row moves under the cursor or the focus.
const panel = () => document.getElementById("worklist");
const news = document.querySelector("[data-news]");
const linkOf = (row) => row.querySelector("[data-row-link]");
const rowsOf = (root) => [...root.querySelectorAll("tbody tr")];
const byId = (rows) => new Map(rows.map((row) => [linkOf(row).id, row]));
let latest = null; // the answer that the button puts in place
let unread = 0;

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt !== panel()) return;
  event.detail.parameters.seen = panel().dataset.mark;
  const count = rowsOf(panel()).length + unread; // rows that new ones have pushed off the page are still asked for
  if (count) event.detail.parameters.rows = count;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target !== panel() || !event.detail.shouldSwap) return;
  event.detail.shouldSwap = false;
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html").getElementById("worklist");
  if (answer) merge(answer);
});

function merge(answer) {
  const mine = rowsOf(panel());
  panel().dataset.mark = answer.dataset.mark;
  latest = answer;
  if (!mine.length) { show(); return; }
  const theirs = rowsOf(answer);
  const known = byId(mine);
  const held = document.querySelector("[data-row-link]:focus, .mh-worklist a:focus")?.closest("tr") || document.querySelector(".mh-worklist tbody tr:hover");
  const top = held && held.getBoundingClientRect().top;
  const there = byId(theirs);
  const isWhole = answer.hasAttribute("data-whole");
  const isKnown = (row) => known.has(linkOf(row).id);
  const isThere = (row) => there.has(linkOf(row).id);
  // Below the last row that both have the server's page only begins later than ours: nothing is new or gone there.
  const fresh = theirs.filter((row, at) => !isKnown(row) && (isWhole || at < theirs.findLastIndex(isKnown)));
  for (const row of theirs) {
    const old = known.get(linkOf(row).id);
    if (old && old.dataset.v !== row.dataset.v) write(old, row);
  }
  mine.forEach((row, at) => gone(row, !isThere(row) && (isWhole || at < mine.findLastIndex(isThere))));
  if (held?.isConnected) window.scrollBy(0, held.getBoundingClientRect().top - top);
  const order = mine.map((row) => linkOf(row).id).filter((id) => there.has(id));
  const isSame = theirs.map((row) => linkOf(row).id).filter((id) => known.has(id)).every((id, at) => id === order[at]);
  unread = fresh.length;
  tell(fresh.length, fresh.filter((row) => row.querySelector(".mh-stat, .mh-flag")).length, isSame && !panel().querySelector("[data-is-gone]"));
}

// A row that a filter no longer wants stays where it is, and says so.
function gone(row, isGone) {
  if (row.hasAttribute("data-is-gone") === isGone) return;
  row.toggleAttribute("data-is-gone", isGone);
  const words = row.querySelector("[data-gone]") || document.createElement("small");
  words.dataset.gone = "";
  words.textContent = panel().dataset.gone;
  if (isGone) row.cells[0].append(words); else words.remove();
}

// The row stays the same element, so that what watches it goes on; the focus inside stays on the same link.
function write(old, row) {
  const at = [...old.querySelectorAll("a")].indexOf(document.activeElement);
  old.dataset.v = row.dataset.v;
  old.replaceChildren(...document.importNode(row, true).childNodes);
  if (at >= 0) old.querySelectorAll("a")[at]?.focus({ preventScroll: true });
}

function tell(count, urgent, isSame) {
  if (!count && isSame) { if (news.firstChild) news.replaceChildren(); return; }
  const said = count ? [news.dataset.new.replace("{n}", count)] : [news.dataset.sort];
  if (urgent) said.push(news.dataset.urgent.replace("{n}", urgent));
  const words = `${said.join(", ")}. ${count ? news.dataset.do : news.dataset.redo}`;
  if (news.textContent === words) return;
  const button = news.querySelector("button") || document.createElement("button");
  button.className = "btn btn-sm btn-primary";
  button.type = "button";
  button.textContent = words;
  button.onclick = () => { show(); document.querySelector("[data-row-link]")?.focus(); window.scrollTo(0, 0); };
  if (!button.isConnected) news.replaceChildren(button);
}

function show() {
  if (!latest) { location.reload(); return; }
  panel().replaceChildren(...document.importNode(latest, true).childNodes);
  latest = null;
  unread = 0;
  news.replaceChildren();
}

// Details on demand: the AI cell leads to a page of its own; here it opens over the list.
const dialog = document.getElementById("details");
async function details(link) {
  const answer = await fetch(`${link.href}${location.search}`, { headers: { "HX-Request": "true" } });
  if (answer.redirected || !answer.ok) { location.assign(link.href); return; }
  dialog.innerHTML = await answer.text();
  dialog.showModal();
  dialog.addEventListener("close", () => { dialog.replaceChildren(); link.focus(); }, { once: true });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.(".mh-worklist a.mh-state");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  details(link);
});

const isTyping = (target) => /^(input|textarea|select)$/i.test(target.tagName) || target.isContentEditable;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || dialog.open) return;
  const row = document.activeElement.closest?.(".mh-worklist tbody tr");
  if (event.key === "/") {
    document.getElementById("filters").open = true;
    document.getElementById("f_text").focus();
  } else if (event.key === "r") {
    show();
  } else if (event.key === "v" && row) {
    row.querySelector('a[href$="/viewer"]').click();
  } else if (event.key === "d" && row) {
    details(row.querySelector("a.mh-state"));
  } else {
    return;
  }
  event.preventDefault();
});
