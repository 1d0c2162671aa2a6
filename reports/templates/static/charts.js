"use strict";
/* Charts: drawn when they come near, by a library that is unpacked the first time one does. */
(() => {
  const root = document.documentElement;
  let parsed = null; // megabytes of JSON in a large report: read when the first chart is drawn
  const figures = () => (parsed ??= JSON.parse(document.getElementById("charts").textContent));
  let library = null;
  const unpack = async () => {
    const script = document.createElement("script");
    script.textContent = await QRM.unpack("plotly");
    document.head.append(script);
    if (!window.Plotly) throw new Error("the chart library did not start");
    return window.Plotly;
  };
  const plotly = () => (library ??= unpack());
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const themed = (layout) => {
    const out = structuredClone(layout);
    out.font = { ...out.font, color: colour("--ink-2"), family: getComputedStyle(document.body).fontFamily };
    out.paper_bgcolor = out.plot_bgcolor = "rgba(0,0,0,0)";
    for (const key of Object.keys(out).filter((k) => /^[xy]axis\d*$/.test(k))) {
      Object.assign(out[key], { gridcolor: colour("--line"), linecolor: colour("--line-strong"), zerolinecolor: colour("--line-strong") });
    }
    out.hoverlabel = { bgcolor: colour("--ground"), bordercolor: colour("--line-strong"), font: { color: colour("--ink") } };
    return out;
  };
  const draw = async (plot) => {
    if (plot.dataset.state) return;
    plot.dataset.state = "drawing";
    const { data, layout } = figures()[plot.closest(".page").lang][plot.dataset.chart];
    const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "resetScale2d"]] };
    try {
      await (await plotly()).newPlot(plot, structuredClone(data), themed(layout), options);
      plot.dataset.state = "drawn";
    } catch (error) {
      plot.dataset.state = "failed";
      console.error("chart " + plot.dataset.chart, error);
    }
  };
  const recolour = async () => {
    if (!library) return;
    const drawn = await library;
    for (const plot of document.querySelectorAll('.plot[data-state="drawn"]')) {
      const { layout } = figures()[plot.closest(".page").lang][plot.dataset.chart];
      await drawn.relayout(plot, { ...themed(layout), width: undefined });
    }
  };
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  QRM.onPage((page) => page.querySelectorAll(".plot:not([data-state])").forEach((plot) => near.observe(plot)));
  QRM.onTheme(recolour);
  addEventListener("beforeprint", () => QRM.page().querySelectorAll(".plot").forEach(draw));
})();
