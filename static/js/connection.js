// Fields that are asked only with one choice are hidden while another is made. Without this module all are shown, each with its condition.
for (const form of document.querySelectorAll("form[data-conditional]")) {
  const groups = [...form.querySelectorAll("[data-only-with]")];
  const settle = () => groups.forEach((group) => {
    const other = form.elements[group.dataset.onlyWith];
    // A choice that is itself hidden counts as it stands: what is not asked, the server leaves out.
    group.hidden = Boolean(other) && other.value !== group.dataset.onlyValue;
  });
  form.addEventListener("change", settle);
  settle();
}
