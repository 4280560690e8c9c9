"use strict";
// Draws every `.chart` below an element from the Vega-Lite spec beside it. In reports the library stands before this
// script; pages fetch it when they have the first chart. No expression is made into code, so no policy must allow it.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const specs = new Map();
  const drawnAt = new Map();

  // The page's own inks in place of the spec's neutral ones.
  function themed(config) {
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink").trim();
    const dim = css.getPropertyValue("--dim").trim();
    const axis = { labelColor: dim, titleColor: ink, domainColor: dim, tickColor: dim, gridColor: dim };
    return {
      ...config,
      axis: { ...config.axis, ...axis },
      legend: { ...config.legend, labelColor: ink, titleColor: ink },
      header: { ...config.header, labelColor: ink, titleColor: ink },
      title: { ...config.title, color: ink },
    };
  }

  // Panels flow into as many columns as there is room for; a single view takes the width there is.
  function fitted(spec, width) {
    const config = themed(spec.config);
    config.legend = { ...config.legend, columns: Math.max(1, Math.floor(width / 170)) };
    if ("columns" in spec) {
      const panel = spec.spec ?? spec.concat[0];
      const ownAxes = spec.concat || spec.resolve?.scale?.y === "independent";
      const between = ownAxes ? 80 : 35;
      const room = Math.min(spec.columns, Math.floor((width - 30) / (panel.width + between)));
      if (room > 1 || spec.concat) return { ...spec, config, columns: Math.max(1, room) };
      const share = Math.max(80, (width - 50) / 2 - between) / panel.width;
      const smaller = { ...panel, width: share * panel.width, height: Math.max(90, share * panel.height) };
      return { ...spec, config, columns: 2, spec: smaller };
    }
    if (width < 480) config.axisY = { ...config.axisY, labelLimit: 110 };
    const autosize = { type: spec.height?.step ? "fit-x" : "fit", contains: "padding" };
    return { ...spec, config, width: Math.min(spec.usermeta?.widest ?? 900, width), autosize };
  }

  const options = {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    ast: true,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };

  async function draw(el, again = false) {
    const width = el.parentElement.clientWidth;
    if (!width || (!again && drawnAt.get(el) === width)) return;
    drawnAt.set(el, width);
    try {
      await vegaEmbed(el, fitted(specs.get(el), width), options);
      el.dataset.drawn = "yes";
    } catch (error) {
      el.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }

  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target.firstElementChild)));
  dark.addEventListener("change", () => specs.forEach((_, el) => draw(el, true)));

  window.drawCharts = (root) => {
    for (const el of specs.keys()) if (!el.isConnected) specs.delete(el);
    for (const el of root.querySelectorAll(".chart")) {
      specs.set(el, JSON.parse(document.getElementById(el.dataset.spec).textContent));
      draw(el);
      sizes.observe(el.parentElement);
    }
  };
  if (window.vegaEmbed) window.drawCharts(document);
})();
