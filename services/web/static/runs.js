"use strict";
// The table of runs: a page of it at a time, from the API, by conditions and an order that stand in the address.
(() => {
  const ROWS = 50;
  const body = document.querySelector("#rows tbody");
  const shown = body.dataset.shown.split(" ");
  const texts = new Set(body.dataset.texts.split(" "));
  const [region, none, place, chips] = ["rows", "none", "place", "chips"].map((id) => document.getElementById(id));
  const [previous, next, pair] = ["previous", "next", "pair"].map((id) => document.getElementById(id));
  const RELATIONS = { eq: "=", ne: "≠", lt: "<", le: "≤", gt: ">", ge: "≥", in: "in", contains: "∋", is_null: "missing" };

  let asked = new URLSearchParams(location.search);
  let cursors = [null]; // of the pages up to this one
  let following = null;
  let chosen = [];
  let turn = 0;

  function address(cursor) {
    const query = new URLSearchParams({ limit: ROWS, select: ["run_key", ...shown].join(",") });
    for (const condition of asked.getAll("where")) query.append("where", condition);
    if (asked.has("sweep")) query.set("sweep", asked.get("sweep"));
    query.set("sort", asked.get("sort") ?? "-stored_at,run_key");
    if (cursor) query.set("cursor", cursor);
    return `/api/v1/runs?${query}`;
  }

  async function load() {
    const mine = ++turn;
    region.setAttribute("aria-busy", "true");
    try {
      const { rows, next_cursor } = await Basin.json(address(cursors.at(-1)));
      if (mine !== turn) return;
      Basin.say("");
      following = next_cursor;
      body.replaceChildren(...rows.map(row));
      const first = (cursors.length - 1) * ROWS;
      none.hidden = rows.length > 0;
      none.textContent = asked.has("where") ? "No run meets all of these conditions." : "No runs are stored yet.";
      scores(rows);
      place.textContent = rows.length ? `${(first + 1).toLocaleString("en")} to ${(first + rows.length).toLocaleString("en")}` : "";
    } catch (error) {
      if (mine !== turn) return;
      body.replaceChildren();
      following = null;
      Basin.say(error.message, true);
    }
    previous.disabled = cursors.length === 1;
    next.disabled = !following;
    region.setAttribute("aria-busy", "false");
  }

  // Scores are in another table: they come after the rows.
  async function scores(rows) {
    const cells = new Map(rows.map((run, i) => [run.run_key, body.rows[i].cells[body.rows[i].cells.length - 1]]));
    if (!cells.size) return;
    const query = new URLSearchParams({ limit: ROWS, select: "run_key,value" });
    const conditions = ["part:eq:test", "metric:eq:log_score", `run_key:in:${[...cells.keys()].join(",")}`];
    conditions.forEach((condition) => query.append("where", condition));
    const found = await Basin.json(`/api/v1/metrics?${query}`).catch(() => ({ rows: [] }));
    for (const { run_key, value } of found.rows) cells.get(run_key).textContent = words("value", value);
  }

  function cell(name, value) {
    const td = document.createElement("td");
    if (texts.has(name)) td.className = "text shown-plain";
    if (name === "status") {
      const state = document.createElement("span");
      state.className = "state";
      state.dataset.state = state.textContent = value ?? "–";
      td.append(state);
    } else td.textContent = words(name, value);
    return td;
  }

  function words(name, value) {
    if (value === null || value === undefined) return "–";
    if (name.endsWith("_at")) return String(value).slice(0, 16).replace("T", " ");
    if (typeof value !== "number") return String(value);
    return value.toLocaleString("en", Number.isInteger(value) ? {} : { maximumSignificantDigits: 4 }).replace("-", "−");
  }

  function row(run) {
    const tr = document.createElement("tr");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: chosen.includes(run.run_key) });
    box.setAttribute("aria-label", `choose ${run.learner}, split ${run.split}, seed ${run.seed}`);
    box.addEventListener("change", () => choose(run.run_key, box.checked));
    const td = document.createElement("td");
    td.append(box);
    tr.append(td);
    for (const name of shown) {
      if (name !== "learner") {
        tr.append(cell(name, run[name]));
        continue;
      }
      const th = document.createElement("th");
      th.scope = "row";
      const link = document.createElement("a");
      link.href = `/runs/${encodeURIComponent(run.run_key)}`;
      link.textContent = run.learner;
      th.append(link);
      tr.append(th);
    }
    tr.append(cell("log_score", null));
    return tr;
  }

  function choose(key, wanted) {
    chosen = chosen.filter((other) => other !== key);
    if (wanted) chosen = [...chosen, key].slice(-2);
    for (const box of body.querySelectorAll("input")) {
      const its = box.closest("tr").querySelector("a").href.split("/").at(-1);
      box.checked = chosen.includes(its);
    }
    pair.hidden = chosen.length !== 2;
    if (chosen.length === 2) pair.href = `/pair?a=${chosen[0]}&b=${chosen[1]}`;
  }

  function changed() {
    cursors = [null];
    history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}`);
    tell();
    load();
  }

  function chip(name, value) {
    const [column, op, ...rest] = name === "sweep" ? ["asked for by", "eq", value] : value.split(":");
    const made = document.createElement("li");
    made.append(`${column.replaceAll("_", " ")} ${RELATIONS[op] ?? op} ${rest.join(":")} `);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `remove ${value}`);
    remove.addEventListener("click", () => {
      asked.delete(name, value);
      changed();
    });
    made.append(remove);
    return made;
  }

  function tell() {
    const held = [...asked].filter(([name]) => name === "where" || name === "sweep");
    chips.replaceChildren(...held.map(([name, value]) => chip(name, value)));
    const [first] = (asked.get("sort") ?? "-stored_at").split(",");
    for (const button of document.querySelectorAll("[data-sort]")) {
      const by = first.replace(/^-/, "") === button.dataset.sort;
      const way = first.startsWith("-") ? "descending" : "ascending";
      button.closest("th").setAttribute("aria-sort", by ? way : "none");
    }
  }

  document.getElementById("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    const [column, op, value] = ["column", "op", "value"].map((id) => document.getElementById(id));
    const condition = `${column.value}:${op.value}:${value.value.trim() || (op.value === "is_null" ? "true" : "")}`;
    if (!asked.getAll("where").includes(condition)) asked.append("where", condition);
    value.value = "";
    changed();
  });
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const by = button.dataset.sort;
      asked.set("sort", asked.get("sort")?.startsWith(`${by},`) ? `-${by},run_key` : `${by},run_key`);
      changed();
    });
  }
  next.addEventListener("click", () => {
    cursors = [...cursors, following];
    load();
  });
  previous.addEventListener("click", () => {
    cursors = cursors.slice(0, -1);
    load();
  });
  tell();
  load();
})();
