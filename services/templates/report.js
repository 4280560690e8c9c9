"use strict";
(() => {
  const charts = [...document.querySelectorAll(".chart")];
  const specs = new Map(charts.map((el) => [el, JSON.parse(document.getElementById(el.dataset.spec).textContent)]));
  const dark = matchMedia("(prefers-color-scheme: dark)");
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
    return { ...spec, config, width: Math.min(900, width), autosize: { type: "fit", contains: "padding" } };
  }

  async function draw(el, again = false) {
    const width = el.parentElement.clientWidth;
    if (!width || (!again && drawnAt.get(el) === width)) return;
    drawnAt.set(el, width);
    try {
      await vegaEmbed(el, fitted(specs.get(el), width), { mode: "vega-lite", renderer: "svg", actions: false });
      el.dataset.drawn = "yes";
    } catch (error) {
      el.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }

  dark.addEventListener("change", () => charts.forEach((el) => draw(el, true)));
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target.firstElementChild)));
  charts.forEach((el) => {
    draw(el);
    sizes.observe(el.parentElement);
  });
})();
