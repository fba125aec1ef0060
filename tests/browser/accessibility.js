// What a page must be for everybody, checked where it is shown. Evaluates to a list of complaints in words.
() => {
  const complaints = [];
  const say = (what, element) => complaints.push(`${what}: ${element.outerHTML.slice(0, 120).replace(/\s+/g, " ")}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const isHiddenFromEyes = (element) => element.closest(".visually-hidden, .mh-skip:not(:focus)") !== null || isOutside(element);
  const isOutside = (element) => { const box = element.getBoundingClientRect(); return box.right <= 0 || box.bottom + scrollY <= 0; };
  const named = (ids) => (ids || "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id));
  const name = (element) => [
    element.getAttribute("aria-label"), ...named(element.getAttribute("aria-labelledby")).map((other) => other?.textContent),
    ...[...(element.labels || [])].map((label) => label.textContent), element.matches("a, button, th") ? element.textContent : "",
  ].join("").trim();

  // The document: language, title, one main, one h1, no level left out, ids that are one of a kind and lead somewhere.
  if (!document.documentElement.lang) complaints.push("no language");
  if (!document.title) complaints.push("no title");
  if (all("main").length !== 1) complaints.push("not exactly one main");
  const levels = all("h1, h2, h3, h4, h5, h6").filter(isShown).map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) complaints.push(`headings of level 1: ${levels.filter((l) => l === 1).length}`);
  levels.forEach((level, at) => { if (level > (levels[at - 1] || 0) + 1) complaints.push(`h${level} after h${levels[at - 1] || 0}`); });
  const ids = all("[id]").map((element) => element.id);
  ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => complaints.push(`id twice: ${id}`));
  all("[aria-describedby], [aria-labelledby]").forEach((element) => {
    const others = [...named(element.getAttribute("aria-describedby")), ...named(element.getAttribute("aria-labelledby"))];
    if (others.includes(null)) say("described by nothing", element);
  });

  // Names: of fields, buttons, links, pictures, tables and their columns.
  all("input:not([type=hidden]), select, textarea, button, a[href], nav, [role=region]").filter(isShown).forEach((element) => {
    if (!name(element)) say("no name", element);
  });
  all("img").forEach((image) => { if (!image.hasAttribute("alt")) say("no alt", image); });
  const isPicture = (drawing) => drawing.getAttribute("role") === "img" && Boolean(name(drawing));
  all("svg").forEach((drawing) => {
    if (drawing.getAttribute("aria-hidden") !== "true" && !isPicture(drawing)) say("icon not hidden from readers", drawing);
  });
  all("table").forEach((table) => { if (!table.caption && !table.getAttribute("aria-label")) say("table without caption", table); });
  all("th").forEach((cell) => { if (!cell.scope || !name(cell)) say("column without scope or name", cell); });

  // Colours through a canvas, because computed ones may be written in any colour space.
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const read = new Map();
  const rgba = (colour) => {
    if (!read.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      read.set(colour, [r, g, b, a / 255]);
    }
    return read.get(colour);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, at) => part * a + below[at] * (1 - a)).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => { const c = part / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(element) || !isShown(element) || isHiddenFromEyes(element)) continue;
    seen.add(element);
    const below = ground(element);
    const ratio = contrast(over(rgba(getComputedStyle(element).color), below), below);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, element);
  }
  all("input:not([type=hidden], [type=range])").filter(isShown).forEach((field) => {
    const below = ground(field);
    const ratio = contrast(over(rgba(getComputedStyle(field).color), below), below);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, field);
  });

  // Targets of 24 px, except links in a line of text (WCAG 2.2, 2.5.8); nothing wider than the window.
  all("a[href], button, input:not([type=hidden]), select, textarea, summary").filter(isShown).forEach((target) => {
    if (isHiddenFromEyes(target)) return;
    const box = target.getBoundingClientRect();
    const isInText = getComputedStyle(target).display === "inline" && target.parentElement.textContent.trim() !== target.textContent.trim();
    if (!isInText && Math.min(box.width, box.height) < 23.9) say(`target ${box.width.toFixed(0)} x ${box.height.toFixed(0)}`, target);
  });
  const width = document.documentElement.clientWidth;
  if (document.scrollingElement.scrollWidth > width) complaints.push(`${document.scrollingElement.scrollWidth} px wide in ${width}`);
  // A table that means nothing in one column may scroll on its own (WCAG 1.4.10), by keyboard too.
  all(".mh-scroll").forEach((part) => { if (part.tabIndex !== 0 || part.getAttribute("role") !== "region") say("scrolls by mouse alone", part); });
  all("body *").filter((element) => isShown(element) && !isHiddenFromEyes(element)).forEach((element) => {
    const box = element.getBoundingClientRect();
    if (box.width && box.right > width + 1 && !element.closest("svg, .mh-scroll > *")) say(`sticks out to ${box.right.toFixed(0)} of ${width}`, element);
  });
  return complaints;
}
