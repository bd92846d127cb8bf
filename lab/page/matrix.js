// SPDX-License-Identifier: GPL-2.0-only
"use strict";

// What is chosen is kept behind the # of the address, so that a link shows the same rows.
const form = document.querySelector("form");
const rows = [...document.querySelectorAll("tr[data-machine]")];
const cells = [...document.querySelectorAll("details")];
const shown = node => !node.hidden;

function chosen() {
	const data = new FormData(form);
	return Object.fromEntries(["base", "level", "outcome", "transition", "text"].map(
		name => [name, data.getAll(name).filter(Boolean)]));
}

function show() {
	const want = chosen();
	const has = (name, value) => !want[name].length || want[name].includes(value);
	const words = want.text.join(" ").toLowerCase().split(/\s+/).filter(Boolean);
	const columns = new Set();

	for (const row of rows) {
		const { base, level, machine } = row.dataset;
		const fits = has("base", base) && has("level", level) &&
			words.every(word => machine.includes(word));
		let some = false;
		for (const cell of row.querySelectorAll("details")) {
			cell.hidden = !(fits && has("outcome", cell.dataset.outcome) &&
					has("transition", cell.dataset.transition));
			if (cell.hidden) {
				cell.open = false;
			} else {
				some = true;
				columns.add(cell.closest("td").cellIndex);
			}
		}
		row.hidden = !some;
	}
	for (const body of document.querySelectorAll("tbody"))
		body.hidden = !body.querySelector("tr[data-machine]:not([hidden])");
	for (const node of document.querySelectorAll("thead th, tr[data-machine] > td"))
		if (node.cellIndex)
			node.hidden = !columns.has(node.cellIndex);

	const left = cells.filter(shown);
	const machines = rows.filter(shown).length;
	document.getElementById("shown").textContent =
		`${left.length} of ${cells.length} results, on ${machines} machines`;
	document.getElementById("nothing").hidden = left.length > 0;
	document.querySelector("table").hidden = !left.length;
	rove(left.find(cell => cell.querySelector("summary").tabIndex === 0) || left[0]);
}

function remember() {
	const query = new URLSearchParams();
	for (const [name, values] of Object.entries(chosen()))
		for (const value of values)
			query.append(name, value);
	history.replaceState(null, "", `#${query}`);
}

function recall() {
	const query = new URLSearchParams(location.hash.slice(1));
	for (const field of form.elements) {
		if (field.type === "checkbox")
			field.checked = query.getAll(field.name).includes(field.value);
		else if (field.name)
			field.value = query.get(field.name) || "";
	}
	show();
	const open = query.get("open") && document.getElementById(query.get("open"));
	if (open && shown(open)) {
		open.open = true;
		open.scrollIntoView({ block: "center" });
	}
}

// Tab stops at one cell of the table; the arrow keys go from there.
function rove(cell) {
	for (const other of cells)
		other.querySelector("summary").tabIndex = other === cell ? 0 : -1;
}

function step(cell, key) {
	const row = cell.closest("tr");
	const beside = [...row.querySelectorAll("details:not([hidden])")];
	const at = beside.indexOf(cell);
	if (key === "ArrowRight" || key === "ArrowLeft")
		return beside[at + (key === "ArrowRight" ? 1 : -1)];
	const visible = rows.filter(shown);
	const next = visible[visible.indexOf(row) + (key === "ArrowDown" ? 1 : -1)];
	if (!next)
		return null;
	const column = cell.closest("td").cellIndex;
	const others = [...next.querySelectorAll("details:not([hidden])")];
	const far = other => Math.abs(other.closest("td").cellIndex - column);
	return others.sort((one, other) => far(one) - far(other))[0];
}

form.addEventListener("input", () => { show(); remember(); });
form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
form.addEventListener("submit", event => event.preventDefault());
window.addEventListener("hashchange", recall);
document.addEventListener("focusin", event => {
	if (event.target.matches("summary"))
		rove(event.target.parentNode);
});
document.addEventListener("click", event => {
	for (const cell of cells)
		if (cell.open && !cell.contains(event.target))
			cell.open = false;
});
document.addEventListener("keydown", event => {
	if (event.key === "Escape") {
		const open = cells.find(cell => cell.open);
		if (open) {
			open.open = false;
			open.querySelector("summary").focus();
		}
	} else if (event.key === "/" && !event.target.matches("input")) {
		event.preventDefault();
		form.elements.text.focus();
	} else if (event.key.startsWith("Arrow") && event.target.matches("summary")) {
		const next = step(event.target.parentNode, event.key);
		event.preventDefault();
		if (next)
			next.querySelector("summary").focus();
	}
});

recall();
