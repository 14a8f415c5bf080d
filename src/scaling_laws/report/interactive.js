// The page's two explorers: every run, and every learning curve. Reads the JSON of #study-data, draws with Plotly.
// Without this script, and in print, a still figure stands in their place.
"use strict";

(async function () {
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study-data").textContent);
  const runs = study.runs;
  const indices = runs.run.map((_, index) => index);
  const dashes = ["solid", "dash", "dot", "dashdot"];
  const markers = ["circle", "square", "triangle-up", "diamond"];
  const colourBins = 16;
  const grey = "#777777";
  const ink = "#222222";
  const narrow = window.matchMedia("(max-width: 45rem)");

  // Plotly itself, packed in the page.
  const packed = Uint8Array.from(atob(byId("plotly-packed").textContent.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);

  // --- numbers and words ---

  function short(value) {
    if (value === null) return "–";
    for (const [scale, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      const rounded = Number(value.toPrecision(3));
      if (rounded >= 1e15) break;
      if (rounded >= scale) return Number((value / scale).toPrecision(3)) + suffix;
    }
    return value >= 1e15 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  // Plotly takes its texts for HTML: a run's name is only text.
  function escaped(text) {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  function about(index, N, C) {
    const asked = runs.experiments[index].map((number) => study.experiments[number]).join(", ");
    return [
      "<b>" + escaped(runs.run[index]) + "</b>",
      escaped(study.families[runs.family[index]]),
      "N = " + short(runs[N][index]) + " parameters",
      "D = " + short(runs.D[index]) + " tokens",
      "C = " + (runs[C][index]?.toExponential(2) ?? "–") + " FLOPs",
      "loss = " + (runs.loss[index]?.toFixed(4) ?? "–") + " nats per token",
      ...(asked ? ["experiments: " + escaped(asked)] : []),
      ...(runs.in_laws[index] ? [] : ["in no law of this report"]),
    ].join("<br>");
  }

  // --- what is chosen ---

  function chosen() {
    const experiment = byId("experiment").value;
    const families = new Set(
      [...document.querySelectorAll("#families input:checked")].map((box) => Number(box.value)),
    );
    const shown = indices.filter(
      (index) =>
        families.has(runs.family[index]) &&
        (experiment === "" || runs.experiments[index].includes(Number(experiment))),
    );
    return { N: byId("convention-n").value, C: byId("convention-c").value, shown };
  }

  // Colours keep their meaning when runs are hidden: the scale is that of all runs.
  function sizeScale(N) {
    const logs = runs[N].filter((value) => value > 0).map(Math.log10);
    const low = Math.min(...logs);
    const high = Math.max(...logs);
    return { low, high, share: (value) => (high > low ? (Math.log10(value) - low) / (high - low) : 0.5) };
  }

  function colourBar(scale, label) {
    const steps = scale.high - scale.low > 2 ? [1] : [1, 2, 5];
    const values = [];
    for (let power = Math.floor(scale.low); power <= scale.high; power++) {
      for (const step of steps) {
        const log = power + Math.log10(step);
        if (log >= scale.low - 1e-9 && log <= scale.high + 1e-9) values.push(log);
      }
    }
    const lying = narrow.matches;
    return {
      ...(lying ? {} : { title: { text: label, side: "right", font: { size: 12 } } }),
      tickvals: values,
      ticktext: values.map((log) =>
        steps.length === 1 ? "10<sup>" + Math.round(log) + "</sup>" : short(10 ** log),
      ),
      orientation: lying ? "h" : "v",
      thickness: 10,
      outlinewidth: 0,
      ...(lying ? { yref: "container", y: 0, yanchor: "bottom", len: 1 } : { len: 0.9 }),
    };
  }

  // Only powers of ten get a tick where there are several of them.
  function axis(title, kind, values) {
    const present = values.filter((value) => value > 0);
    const decades = present.length ? Math.log10(Math.max(...present) / Math.min(...present)) : 0;
    return {
      ...(kind === "log" && decades > 2 ? { dtick: Math.ceil(decades / 8) } : { nticks: narrow.matches ? 5 : 8 }),
      title: { text: title, standoff: 8 },
      type: kind,
      exponentformat: "power",
      showexponent: "all",
      gridcolor: "#e3e3e3",
      linecolor: "#555555",
      ticks: "outside",
      ticklen: 4,
      zeroline: false,
      automargin: true,
    };
  }

  function layout(x, y, below) {
    return {
      xaxis: x,
      yaxis: y,
      font: { family: "system-ui, sans-serif", size: narrow.matches ? 12 : 13, color: ink },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemclick: false, itemdoubleclick: false },
      margin: { l: 60, r: 10, t: 30, b: below },
      hovermode: "closest",
      hoverlabel: { bgcolor: "#ffffff", bordercolor: grey, align: "left", font: { color: ink, size: 12 } },
      dragmode: narrow.matches ? false : "zoom",
      paper_bgcolor: "#ffffff",
      plot_bgcolor: "#ffffff",
      showlegend: true,
    };
  }

  function config() {
    return {
      responsive: true,
      displaylogo: false,
      displayModeBar: !narrow.matches,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"],
      plotlyServerURL: "", // nothing leaves the page
    };
  }

  // --- every run ---

  function drawRuns() {
    const { N, C, shown } = chosen();
    const xName = { N, C }[byId("runs-x").value] || byId("runs-x").value;
    const scale = sizeScale(N);
    const traces = study.families.map((family, number) => {
      const own = shown.filter((index) => runs.family[index] === number && runs[N][index] > 0);
      return {
        type: "scatter",
        mode: "markers",
        name: escaped(family),
        visible: own.length > 0,
        x: own.map((index) => runs[xName][index]),
        y: own.map((index) => runs.loss[index]),
        text: own.map((index) => about(index, N, C)),
        hoverinfo: "text",
        marker: {
          symbol: markers[number % markers.length],
          size: own.map((index) => (runs.in_laws[index] ? 8 : 6)),
          opacity: own.map((index) => (runs.in_laws[index] ? 0.95 : 0.6)),
          color: own.map((index) => Math.log10(runs[N][index])),
          coloraxis: "coloraxis",
          line: { width: 0.5, color: "#ffffff" },
        },
      };
    });
    const titles = { D: "D, training tokens", unique_tokens: "unique training tokens" };
    const figure = layout(
      axis(titles[xName] || study.labels[xName], byId("runs-x-scale").value, traces.flatMap((trace) => trace.x)),
      axis(study.labels.loss, byId("runs-y-scale").value, []),
      narrow.matches ? 105 : 50,
    );
    figure.coloraxis = {
      colorscale: study.colours.map((colour, step) => [step / (study.colours.length - 1), colour]),
      cmin: scale.low,
      cmax: scale.high > scale.low ? scale.high : scale.low + 1,
      showscale: scale.high > scale.low,
      colorbar: colourBar(scale, study.labels[N]),
    };
    byId("runs-colour").textContent = "Colour: " + study.labels[N] + ".";
    byId("runs-count").textContent = shown.length + " of " + indices.length + " runs shown";
    return Plotly.react(byId("runs-plot"), traces, figure, config());
  }

  // --- learning curves: one trace a family and colour, curves parted by gaps ---

  function drawCurves() {
    const plot = byId("curves-plot");
    if (!plot) return;
    const { N, C, shown } = chosen();
    const inFlops = byId("curves-x").value === "C";
    const scale = sizeScale(N);
    const traces = new Map();
    for (const index of shown) {
      if (study.curves[index].length === 0 || !(runs[N][index] > 0)) continue;
      const [tokens, losses] = study.curves[index];
      const bin = Math.round(scale.share(runs[N][index]) * (colourBins - 1));
      const key = runs.family[index] + " " + bin;
      if (!traces.has(key)) {
        const step = Math.round((bin / (colourBins - 1)) * (study.colours.length - 1));
        traces.set(key, {
          type: "scatter",
          mode: "lines",
          name: escaped(study.families[runs.family[index]]),
          showlegend: false,
          x: [],
          y: [],
          text: [],
          hovertemplate: "%{text}<br>here: %{x:.3s} " + (inFlops ? "FLOPs" : "tokens") + ", %{y:.4f} nats<extra></extra>",
          line: { color: study.colours[step], width: 1.3, dash: dashes[runs.family[index] % dashes.length] },
        });
      }
      const trace = traces.get(key);
      const label = about(index, N, C);
      const perToken = inFlops ? runs[C][index] / runs.D[index] : 1;
      tokens.forEach((count, place) => {
        trace.x.push(count * perToken);
        trace.y.push(losses[place]);
        trace.text.push(label);
      });
      trace.x.push(null);
      trace.y.push(null);
      trace.text.push("");
    }
    const drawn = [...traces.values()];
    const figure = layout(
      axis(inFlops ? study.labels[C] : "tokens processed", byId("curves-x-scale").value, drawn.flatMap((trace) => trace.x)),
      axis(study.labels.loss, byId("curves-y-scale").value, []),
      50,
    );
    return Plotly.react(plot, [...drawn, ...keys(shown)], figure, config());
  }

  // Entries of the legend: a family's line, in no size's colour.
  function keys(shown) {
    const present = new Set(shown.map((index) => runs.family[index]));
    return [...present].sort().map((number) => ({
      type: "scatter",
      mode: "lines",
      name: escaped(study.families[number]),
      x: [null],
      y: [null],
      line: { color: grey, width: 1.3, dash: dashes[number % dashes.length] },
    }));
  }

  async function draw() {
    await drawRuns();
    await drawCurves();
  }

  document.documentElement.classList.add("live"); // plots have a size from here on
  await draw();
  byId("explorer-controls").addEventListener("change", draw);
  for (const id of ["runs-controls", "curves-controls"]) {
    byId(id)?.addEventListener("change", draw);
  }
  narrow.addEventListener("change", draw);
  byId("explore").setAttribute("data-drawn", "yes");
})();
