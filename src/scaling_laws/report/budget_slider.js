// The page's slider: a budget -> N, D, the loss with its interval, and how far that lies beyond the runs.
// Plans come from the page's data; between two of them the logarithm is interpolated.
"use strict";

(function () {
  const byId = (id) => document.getElementById(id);
  if (!byId("budget")) return;
  const { families, speeds } = JSON.parse(byId("study-data").textContent).slider;
  const STEPS = 1000;
  const kind = byId("budget-kind");
  const slider = byId("budget-slider");
  const speed = byId("budget-speed");
  const named = byId("budget-device");
  slider.max = STEPS;

  function short(value) {
    if (value === null || !Number.isFinite(value)) return "not known";
    for (const [scale, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= 1e15) break;
      if (Number(value.toPrecision(3)) >= scale) return Number((value / scale).toPrecision(3)) + suffix;
    }
    return value >= 1e15 || value < 1e-2 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  const family = () => families[Number(byId("budget-family")?.value ?? 0)];
  const table = () => (kind.value === "served" ? family().served : family().budgets);
  const along = () => (kind.value === "served" ? "T" : "C");

  // Null where one of the two plans beside it has no such number.
  function at(name) {
    const values = table()[name];
    const place = (Number(slider.value) / STEPS) * (values.length - 1);
    const low = Math.floor(place);
    const high = Math.min(low + 1, values.length - 1);
    if (values[low] === null || values[high] === null) return null;
    const share = place - low;
    return Math.exp((1 - share) * Math.log(values[low]) + share * Math.log(values[high]));
  }

  function place(value) {
    const values = table()[along()];
    const [low, high] = [Math.log(values[0]), Math.log(values[values.length - 1])];
    const share = high > low ? (Math.log(value) - low) / (high - low) : 0;
    return Math.round(STEPS * Math.min(Math.max(share, 0), 1));
  }

  function reach() {
    const outside = [];
    for (const name of ["N", "D", "C"]) {
      const [low, high] = family().ranges[name];
      const value = at(name);
      if (value > high * 1.001) outside.push(name + " is " + short(value / high) + " times the largest");
      else if (value < low * 0.999) outside.push(name + " is " + short(low / value) + " times below the smallest");
    }
    return outside.length ? "Beyond the runs: " + outside.join(", ") + "." : "Inside the runs in N, D and C.";
  }

  function budget() {
    if (kind.value === "served") return short(at("T")) + " tokens to serve";
    const flops = at("C").toExponential(2) + " FLOPs";
    if (kind.value === "flops") return flops;
    const perSecond = 1e12 * Number(speed.value);
    if (!(perSecond > 0 && Number.isFinite(perSecond))) return "give a speed above 0";
    return short(at("C") / perSecond / 3600) + " device-hours (" + flops + ")";
  }

  function show() {
    byId("budget-speeds").hidden = kind.value !== "hours";
    const words = budget();
    byId("budget-words").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    const [low, high] = [at("low"), at("high")];
    const interval = low === null || high === null ? "" : " [" + low.toFixed(3) + ", " + high.toFixed(3) + "]";
    byId("budget-n").textContent = short(at("N")) + " parameters";
    byId("budget-d").textContent = short(at("D")) + " tokens";
    byId("budget-loss").textContent = (at("loss")?.toFixed(3) ?? "not known") + interval + " nats per token";
    byId("budget-reach").textContent =
      (kind.value === "served"
        ? "The least FLOPs of training and serving that reach the loss of ten times the largest run. "
        : "") + reach();
  }

  function restart() {
    slider.value = kind.value === "served" ? STEPS / 2 : place(family().start);
    show();
  }

  named?.addEventListener("change", () => {
    speed.value = Number((speeds[Number(named.value)].flops_per_s / 1e12).toPrecision(4));
    show();
  });
  speed.value = Number((speeds[0].flops_per_s / 1e12).toPrecision(4));
  slider.addEventListener("input", show);
  speed.addEventListener("input", show);
  kind.addEventListener("change", restart);
  byId("budget-family")?.addEventListener("change", restart);
  restart();
  byId("budget").setAttribute("data-drawn", "yes");
})();
