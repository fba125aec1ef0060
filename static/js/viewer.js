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

// Cornerstone makes seven WebGL contexts before it draws the first image. Where there are few cores to draw with, that is half a
// second for contexts that wait for each other; a viewer of one study does well with these. Runs after cornerstone's own start.
const contexts = Math.max(1, Math.min(4, Math.floor((navigator.hardwareConcurrency || 4) / 4)));
window.config.extensions.push({
  id: "medhub.contexts",
  preRegistration() {
    const { getConfiguration, setConfiguration } = window.cornerstone;
    const found = getConfiguration();
    setConfiguration({ ...found, rendering: { ...found.rendering, webGlContextCount: contexts } });
  },
});
