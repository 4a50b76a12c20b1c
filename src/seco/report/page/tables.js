for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const was = head.getAttribute("aria-sort");
      // Numbers first by the largest, words by the alphabet.
      const down = was ? was === "ascending" : numeric;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        if (!numeric) return cell.textContent;
        return cell.dataset.value === undefined ? null : +cell.dataset.value;
      };
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        const order = numeric ? x - y : x.localeCompare(y);
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
  const tasks = [...new Set([...body.rows].map((r) => r.dataset.task))];
  if (tasks.length < 2) continue;
  const chips = make("div", { class: "chips", role: "group", "aria-label": "Rows of one task" });
  for (const task of ["all", ...tasks]) {
    const button = make("button", { type: "button", "aria-pressed": String(task === "all"), text: task });
    button.addEventListener("click", () => {
      for (const b of chips.children) b.setAttribute("aria-pressed", String(b === button));
      for (const row of body.rows) row.hidden = task !== "all" && row.dataset.task !== task;
    });
    chips.append(button);
  }
  table.parentNode.before(chips);
}
