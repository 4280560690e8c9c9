"use strict";
// What all pages share: parts that arrive later, live progress, buttons that ask the API, copying, and the keyboard.
const Basin = (() => {
  const told = document.getElementById("told");

  function say(message, bad = false) {
    told.textContent = message;
    told.classList.toggle("fault", bad);
    told.hidden = !message;
  }

  // A page's own requests say so: neither a form nor another site's script can (see services/api/access.py).
  async function ask(url, options = {}) {
    let answer;
    try {
      answer = await fetch(url, { ...options, headers: { "X-Basin-Request": "1", ...options.headers } });
    } catch {
      throw new Error("The server does not answer: is it still running?");
    }
    if (answer.status === 401) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
      throw new Error("Sign in again.");
    }
    if (!answer.ok) {
      const said = await answer.json().catch(() => null);
      const error = new Error(said?.error?.message ?? `The server answered ${answer.status}.`);
      error.details = said?.error?.details;
      error.status = answer.status;
      throw error;
    }
    return answer;
  }

  const json = async (url, options) => (await ask(url, options)).json();
  const post = (url, value, headers = {}) =>
    json(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      ...(value === undefined ? {} : { body: JSON.stringify(value) }),
    });

  // --- parts that arrive later ---------------------------------------------------------------------------------------

  let library;
  function loadLibrary() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = document.body.dataset.library;
      script.onload = resolve;
      script.onerror = () => reject(new Error("The charts' library could not be fetched."));
      document.head.append(script);
    });
    return library;
  }

  // What takes longer than a request may is computed on all the same, and there for the next one.
  async function patiently(url, times = 4) {
    try {
      return await ask(url);
    } catch (error) {
      if (error.status !== 503 || times === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 3000));
      return patiently(url, times - 1);
    }
  }

  async function fill(part) {
    part.setAttribute("aria-busy", "true");
    try {
      const holder = document.createElement("template");
      holder.innerHTML = await (await patiently(part.dataset.fragment)).text();
      part.replaceChildren(holder.content);
      const charts = part.querySelector(".chart");
      part.setAttribute("aria-busy", "false");
      if (charts) {
        await loadLibrary();
        drawCharts(part);
      }
    } catch (error) {
      const sorry = document.createElement("p");
      sorry.className = "fault";
      sorry.textContent = `${error.message} `;
      const again = document.createElement("button");
      again.textContent = "Try again";
      again.addEventListener("click", () => fill(part));
      sorry.append(again);
      part.replaceChildren(sorry);
      part.setAttribute("aria-busy", "false");
    }
  }

  // --- live progress -------------------------------------------------------------------------------------------------

  function show(place, now) {
    const state = place.querySelector(".state");
    const before = state.dataset.state;
    state.dataset.state = now.state;
    state.textContent = now.state || "stored";
    const bar = place.querySelector("progress");
    const moved = before !== now.state || bar.value !== now.done;
    bar.max = now.total || 1;
    bar.value = now.done;
    place.querySelector(".done").textContent = `${now.done.toLocaleString("en")} of ${now.total.toLocaleString("en")}`;
    place.querySelector(".words").textContent = now.words;
    const updated = place.querySelector(".updated");
    if (updated && now.updated) updated.textContent = `${now.updated.slice(0, 16).replace("T", " ")} UTC`;
    for (const button of place.querySelectorAll("[data-when]")) {
      button.hidden = button.dataset.when === "live" ? !now.live : now.live || now.done === now.total;
    }
    if (!moved || !place.classList.contains("standing")) return;
    const parts = document.querySelectorAll("[data-fragment]");
    if (!parts.length) location.reload(); // it was not planned yet when the page was made
    else if (before !== now.state) parts.forEach(fill);
  }

  function watch(root) {
    let source;
    const open = () => {
      source = new EventSource(root.dataset.events);
      source.addEventListener("standing", (event) => {
        const now = JSON.parse(event.data);
        const places = root.dataset.sweep ? [root] : root.querySelectorAll("[data-sweep]");
        for (const place of places) if (place.dataset.sweep === now.name) show(place, now);
      });
    };
    // A page that nobody looks at holds no connection: a browser has six for a server.
    document.addEventListener("visibilitychange", () => (document.hidden ? source.close() : open()));
    addEventListener("pagehide", () => source.close());
    if (!document.hidden) open();
    else source = { close() {} };
  }

  // --- buttons -------------------------------------------------------------------------------------------------------

  async function act(button) {
    if (button.dataset.confirm && !confirm(button.dataset.confirm)) return;
    button.disabled = true;
    try {
      await post(button.dataset.post);
      say("Done.");
      setTimeout(() => location.reload(), 400);
    } catch (error) {
      say(error.message, true);
    } finally {
      button.disabled = false;
    }
  }

  async function copy(button) {
    const from = document.getElementById(button.dataset.copy);
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(from.textContent);
    } catch {
      getSelection().selectAllChildren(from); // without https a page may not write to the clipboard itself
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), 1500);
  }

  // --- the keyboard --------------------------------------------------------------------------------------------------

  const help = document.getElementById("help");
  const on = document.getElementById("keys-on");
  on.checked = localStorage.getItem("keys") !== "off";
  on.addEventListener("change", () => localStorage.setItem("keys", on.checked ? "on" : "off"));

  const press = (selector) => document.querySelector(selector)?.click();
  const go = (path) => () => location.assign(path);
  const KEYS = {
    "?": () => help.showModal(),
    n: go("/submit"),
    "/": () => document.querySelector("#value, #text, input")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    x: () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
    c: () => press("#command + [data-copy], [data-copy]"),
    "[": () => press("[data-page=previous]"),
    "]": () => press("[data-page=next]"),
  };
  const GO = { s: go("/"), r: go("/runs"), c: go("/schedules") };
  let going = false;

  function step(by) {
    const links = [...document.querySelectorAll(".rows tbody tr a")];
    const at = links.indexOf(document.activeElement.closest("tr")?.querySelector("a"));
    links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const wanted = going ? GO[event.key] : KEYS[event.key];
    going = !going && event.key === "g";
    if (!wanted || (!on.checked && event.key !== "?")) return;
    event.preventDefault();
    wanted();
  }

  document.addEventListener("keydown", pressed);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-post], [data-copy], [data-help]");
    if (!button) return;
    if (button.dataset.post) act(button);
    else if (button.dataset.copy) copy(button);
    else help.showModal();
  });
  document.querySelectorAll("[data-events]").forEach(watch);
  document.querySelectorAll("[data-fragment]").forEach(fill);

  return { ask, json, post, say };
})();
