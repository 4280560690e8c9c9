"use strict";
// A sweep as text: checked by the server as it would be when it is submitted, and then submitted.
(() => {
  const [form, text, file, faults, go, example] = ["submit", "text", "file", "faults", "go", "example"].map((id) =>
    document.getElementById(id),
  );
  let checked = null;

  function element(tag, words, className = "") {
    const made = document.createElement(tag);
    made.textContent = words;
    made.className = className;
    return made;
  }

  function refuse(found) {
    const list = document.createElement("ul");
    for (const { path, message } of found) {
      const item = document.createElement("li");
      if (path) item.append(element("code", path), ": ");
      item.append(message);
      list.append(item);
    }
    const box = element("section", "", "warnings");
    box.append(element("h2", found.length === 1 ? "One fault" : `${found.length} faults`), list);
    faults.replaceChildren(box);
    box.scrollIntoView({ block: "nearest" });
    text.setAttribute("aria-invalid", "true");
  }

  function accept(outlook) {
    const box = element("section", "", "verdict");
    box.append(element("h2", "It can be submitted"), element("p", outlook));
    faults.replaceChildren(box);
    text.removeAttribute("aria-invalid");
  }

  async function check() {
    go.disabled = true;
    checked = null;
    try {
      const options = { method: "POST", headers: { "Content-Type": "text/plain; charset=utf-8" }, body: text.value };
      const answer = await Basin.json("/web/check", options);
      if (answer.faults.length) return refuse(answer.faults);
      // One key for one text: however often the button is pressed, it is submitted once.
      const random = crypto.getRandomValues(new Uint8Array(16));
      checked = { sweep: answer.sweep, key: [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
      accept(answer.outlook);
      go.disabled = false;
    } catch (error) {
      refuse([{ path: "", message: error.message }]);
    }
  }

  async function submit() {
    go.disabled = true;
    try {
      const { name } = await Basin.post("/api/v1/sweeps", checked.sweep, { "Idempotency-Key": checked.key });
      location.assign(`/sweeps/${encodeURIComponent(name)}`);
    } catch (error) {
      refuse(error.details?.map(({ at, message }) => ({ path: at, message })) ?? [{ path: "", message: error.message }]);
      go.disabled = false;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  go.addEventListener("click", submit);
  text.addEventListener("input", () => (go.disabled = true));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) checked && !go.disabled ? submit() : check();
  });
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    text.value = await file.files[0].text();
    check();
  });
  example.addEventListener("click", () => {
    text.value = example.dataset.example;
    text.focus();
    check();
  });
})();
