// What OHIF wants to find before it starts, and what of it depends on the screen. app-config.js, before this, says whose doors.
"use strict";

function browserImportFunction(name) {
  return import(name);
}
window.browserImportFunction = browserImportFunction;
console.time("scriptToView");

// The guided tour would lie over the images of whoever comes with a new browser.
try {
  localStorage.setItem("shownTours", JSON.stringify(["basicViewerTour"]));
} catch {
  // no storage, no tour to remember
}

const home = document.documentElement.dataset.home;
window.config.whiteLabeling = {
  createLogoComponentFn: (react) => react.createElement("a", { href: home, className: "mh-home" }, "MedHub"),
};

// On a telephone the list of series would leave no room for the image.
if (window.innerWidth < 700) {
  const closed = { routes: { 0: { layoutInstance: { props: { leftPanelClosed: { $set: true } } } } } };
  window.config.modesConfiguration = { "@ohif/mode-longitudinal": closed };
}
