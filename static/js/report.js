// The report's page prints itself. No inline script anywhere.
document.querySelector("[data-print]")?.addEventListener("click", () => window.print());
