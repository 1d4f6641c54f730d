"use strict";
// Draws every figure of the page from the JSON beside it. Colours come from the style sheet, so a chart is
// drawn again when the colour scheme changes.
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const colored = (value) => {
    if (typeof value === "string") return value.replace(/var\((--[\w-]+)\)/g, (_, name) => css(name));
    if (Array.isArray(value)) return value.map(colored);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, colored(item)]));
  };

  const axis = (given) => ({
    automargin: true, gridcolor: css("--grid"), zerolinecolor: css("--edge"), linecolor: css("--edge"), ...given,
    title: { standoff: 10, font: { size: 13, color: css("--quiet") }, ...(given || {}).title },
  });

  const layout = (given, height) => {
    const all = colored(given);
    const selector = (all.xaxis || {}).rangeselector;
    if (selector) Object.assign(selector, { bgcolor: css("--paper"), activecolor: css("--edge"), x: 0, y: 1.02 });
    return {
      autosize: true, height, margin: { l: 8, r: 8, t: selector ? 44 : 16, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--ink") },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: "toggle" },
      hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--edge"), font: { color: css("--ink") } },
      ...all, xaxis: axis(all.xaxis), yaxis: axis(all.yaxis),
    };
  };

  const make = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  const start = (figure) => {
    const { views, layout: shared, height } = JSON.parse(figure.querySelector("script").textContent);
    const [controls, plot] = [figure.querySelector(".controls"), figure.querySelector(".plot")];
    const groups = [...new Set(views.map((view) => view.group))];
    const most = Math.max(...groups.map((group) => views.filter((view) => view.group === group).length));
    let shown = views.filter((view) => view.group === groups[0]);
    let place = shown.length - 1;

    const draw = () => {
      const view = shown[place];
      const config = { responsive: true, displaylogo: false, displayModeBar: false };
      return Plotly.react(plot, colored(view.traces), layout({ ...shared, ...view.layout }, height), config);
    };
    const says = make("output", {});
    const slider = make("input", { type: "range", min: 0, ariaLabel: "window" });
    const settle = () => {
      Object.assign(slider, { max: shown.length - 1, value: place });
      says.textContent = shown[place].label;
      draw();
    };
    slider.addEventListener("input", () => { place = Number(slider.value); settle(); });

    if (groups.length > 1) {
      const options = groups.map((group) => make("option", { value: group, textContent: group }));
      const select = make("select", { ariaLabel: "choose what is shown" }, ...options);
      select.addEventListener("change", () => {
        shown = views.filter((view) => view.group === groups[select.selectedIndex]);
        place = shown.length - 1;
        settle();
      });
      controls.append(select);
    }
    if (most > 1) controls.append(make("label", {}, slider, says));
    settle();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  };

  const links = [...document.querySelectorAll("section")].map((section) =>
    make("a", { href: `#${section.id}`, textContent: section.querySelector("h2").textContent }));
  document.querySelector("header").append(make("nav", { ariaLabel: "sections" }, ...links));
  document.querySelectorAll("figure.chart").forEach(start);
})();
