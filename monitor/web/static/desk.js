"use strict";
// What the pages do beyond links and forms: times in the reader's zone, charts, and parts that are fetched
// again when the live stream says that they changed.  Every page can be read without it.
(() => {
  const { prefix, uplot, uplotCss } = document.body.dataset;

  // ---- Times ----
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  const utcDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
  const utc = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" });

  function localTime(at, now) {
    const time = clock.format(at);
    if (at.toDateString() === now.toDateString()) return time;
    return `${(at.getFullYear() === now.getFullYear() ? day : year).format(at)}, ${time}`;
  }

  // "14:05 (12:05 UTC)", and the date of that where it is another.
  function fullTime(at) {
    const local = localTime(at, new Date());
    if (at.getTimezoneOffset() === 0) return `${local} UTC`;
    const date = utcDay.format(at), beside = date === day.format(at) ? "" : `${date}, `;
    return `${local} (${beside}${utc.format(at)} UTC)`;
  }

  // With data-short the UTC is in the tooltip alone.
  function showTimes(root) {
    const now = new Date();
    for (const element of root.querySelectorAll("time[datetime]:not([data-shown])")) {
      const at = new Date(element.dateTime);
      if (isNaN(at)) continue;
      element.dataset.shown = "";
      element.title = `${at.toISOString().replace("T", " ").slice(0, 19)} UTC, here ${zone}`;
      element.textContent = "short" in element.dataset ? localTime(at, now) : fullTime(at);
    }
  }

  // ---- Charts ----
  // A figure names where its data are: {"url": "/api/v1/..."}.  They are {"times": [seconds since 1970],
  // "series": [{"label", "values", "kind": "line" | "band" | "bars", "tone": "ink" | "good" | "bad" | "quiet",
  // "scale": "mood" | "count", "low", "high"}], "marks": [{"start", "end", "label"}]}.  A value that is null is missing:
  // the line has a gap.  A band has `low` and `high` instead of `values`.
  let loading;
  function loadCharts() {
    loading ??= new Promise((done, failed) => {
      const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: uplotCss });
      const script = Object.assign(document.createElement("script"), { src: uplot, onload: done, onerror: failed });
      document.head.append(sheet, script);
    });
    return loading;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const TONES = { ink: "--ink", good: "--good", bad: "--bad", quiet: "--quiet" };

  function plotted(data) {
    const columns = [data.times], series = [{ label: "time", value: (_, at) => at == null ? "" : fullTime(new Date(at * 1000)) }], bands = [];
    for (const one of data.series) {
      const stroke = colour(TONES[one.tone ?? "ink"]), scale = one.scale ?? "mood";
      if (one.kind === "band") {
        columns.push(one.high, one.low);
        bands.push({ series: [series.length, series.length + 1], fill: colour(one.tone === "quiet" ? "--band" : "--sure") });
        for (const end of ["high", "low"])
          series.push({ label: `${one.label}, ${end}`, scale, stroke: "transparent", points: { show: false } });
      } else {
        columns.push(one.values);
        const bars = one.kind === "bars";
        series.push({ label: one.label, scale, stroke: bars ? colour("--volume") : stroke, width: bars ? 0 : 2,
          fill: bars ? colour("--volume") : undefined, paths: bars ? uPlot.paths.bars({ size: [0.8] }) : undefined,
          // A value between two gaps is no line.
          points: { show: !bars && data.times.length <= 200, size: 5, fill: stroke }, spanGaps: false });
      }
    }
    return { columns, series, bands };
  }

  // Times of the day, and the date where a day begins.
  function timeTicks(_plot, ticks, _axis, _space, step) {
    return ticks.map((tick, number) => {
      const at = new Date(tick * 1000), isNew = number === 0 || at.getHours() + at.getMinutes() === 0;
      return step >= 86400 ? day.format(at) : isNew ? `${clock.format(at)}\n${day.format(at)}` : clock.format(at);
    });
  }

  // Stretches of time, such as incidents, behind everything else.
  function marksPlugin(marks) {
    return { hooks: { drawAxes: [(plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.fillStyle = colour("--bad-soft");
      for (const { start, end } of marks) {
        const left = Math.max(plot.valToPos(start, "x", true), bbox.left);
        const right = Math.min(plot.valToPos(end ?? Date.now() / 1000, "x", true), bbox.left + bbox.width);
        if (right > left) ctx.fillRect(left, bbox.top, Math.max(right - left, 3), bbox.height);
      }
      ctx.restore();
    }] } };
  }

  function options(data, figure) {
    const { series, bands } = plotted(data);
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const named = (label) => ({ label, labelSize: 18, labelGap: 0, labelFont: "12px sans-serif" });
    const has = (scale) => data.series.some((one) => (one.scale ?? "mood") === scale);
    const axes = [{ ...axis, ...named(zone), values: timeTicks }];
    if (has("mood")) axes.push({ ...axis, ...named("mean score"), scale: "mood", values: (_, ticks) => ticks.map((tick) => (tick > 0 ? "+" : "") + +tick.toFixed(2)) });
    const counted = data.series.find((one) => one.scale === "count");
    if (counted) axes.push({ ...axis, ...named(counted.kind === "bars" ? counted.label : "number"), scale: "count", side: has("mood") ? 1 : 3, grid: { show: false } });
    return {
      width: figure.clientWidth, height: Math.max(220, Math.min(320, figure.clientWidth / 2.5)), series, bands, axes,
      // Below a mood, counts take the lower third.
      scales: { count: { range: (_, _low, high) => [0, (high || 1) * (has("mood") ? 3 : 1.1)] } },
      plugins: [marksPlugin(data.marks ?? [])], legend: { live: true },
    };
  }

  async function drawChart(figure) {
    try {
      const { url, data: inline } = JSON.parse(figure.dataset.chart);
      const [data] = await Promise.all([inline ?? fetchJson(url), loadCharts()]);
      const target = document.createElement("div");
      target.setAttribute("aria-hidden", "true");
      figure.querySelector(".chart")?.remove();
      target.className = "chart";
      figure.prepend(target);
      const plot = new uPlot(options(data, figure), plotted(data).columns, target);
      new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: plot.height })).observe(figure);
    } catch (error) {
      figure.insertAdjacentText("afterbegin", "The chart cannot be drawn now. ");
      console.warn(error);
    }
  }

  async function fetchJson(url) {
    const answer = await fetch(prefix + url, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    return answer.json();
  }

  function showCharts(root) {
    for (const figure of root.querySelectorAll("figure[data-chart]:not([data-drawn])")) {
      figure.dataset.drawn = "";
      drawChart(figure);
    }
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const figure of document.querySelectorAll("figure[data-drawn]")) drawChart(figure);
  });

  // ---- Live ----
  const freshness = document.getElementById("freshness");
  let stream;

  function showFreshness(text, state) {
    if (freshness.textContent !== text) freshness.textContent = text;
    freshness.className = `freshness ${state}`;
  }

  // Not all browsers at the same moment; an incident is urgent, the mood is not.
  function tell(name, detail) {
    const latest = name === "mood" ? 3000 : 500;
    setTimeout(() => document.body.dispatchEvent(new CustomEvent(`desk:${name}`, { detail })), Math.random() * latest);
  }

  function listen() {
    if (stream || document.hidden) return;
    stream = new EventSource(`${prefix}/api/v1/stream`);
    for (const name of ["mood", "incident"]) stream.addEventListener(name, (event) => tell(name, JSON.parse(event.data)));
    stream.addEventListener("status", (event) => {
      const status = JSON.parse(event.data);
      showFreshness(status.text, status.late ? "late" : "live");
      tell("status", status);
    });
    stream.addEventListener("error", () => {
      showFreshness("Not live: no connection", "late");
      // A browser tries again by itself, unless it was refused.
      if (stream?.readyState === EventSource.CLOSED) { stream = undefined; setTimeout(listen, 10000); }
    });
  }

  // A page that nobody sees holds no connection; on its return it is brought up to date.
  function followVisibility() {
    if (document.hidden) { stream?.close(); stream = undefined; return; }
    listen();
    for (const name of ["mood", "incident"]) tell(name, {});
  }

  // ---- Forms and parts ----
  const messages = document.getElementById("messages");

  function say(text) {
    const notice = Object.assign(document.createElement("p"), { className: "notice error", textContent: text });
    messages.replaceChildren(notice);
    setTimeout(() => notice.remove(), 8000);
  }

  async function explainFailure(xhr) {
    try { return JSON.parse(xhr.responseText).error; } catch { return `The monitor answered ${xhr.status || "nothing"}.`; }
  }

  document.addEventListener("htmx:configRequest", (event) => {
    const token = document.querySelector("meta[name=csrf-token]")?.content;
    event.detail.headers.Accept = "application/json";  // errors as JSON, pages as they are
    if (token) event.detail.headers["X-CSRF-Token"] = token;
  });
  for (const name of ["htmx:responseError", "htmx:sendError"])
    document.addEventListener(name, async (event) => {
      const refreshed = event.detail.requestConfig?.verb === "get" && event.detail.elt.id;
      if (refreshed) showFreshness("Not live: some parts are old", "late");
      else say(await explainFailure(event.detail.xhr));
    });

  // A part in which somebody types or moves by keyboard waits until they have left it.
  const isPart = (element) => element.matches("[hx-trigger*='desk:']");
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt, focused = document.activeElement;
    if (!isPart(part) || !part.contains(focused) || !focused.matches(":focus-visible")) return;
    event.preventDefault();
    part.dataset.waits = "";
  });
  document.addEventListener("focusout", (event) => {
    const part = event.target.closest?.("[data-waits]");
    if (!part || part.contains(event.relatedTarget)) return;
    delete part.dataset.waits;
    for (const name of ["mood", "incident"]) tell(name, {});
  });

  // What a reader has opened stays open.
  let opened = new Set();
  document.addEventListener("htmx:beforeSwap", (event) => {
    const summaries = event.detail.target.querySelectorAll("details[open] > summary");
    opened = new Set([...summaries].map((summary) => summary.textContent));
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const summary of event.detail.target.querySelectorAll("details > summary"))
      if (opened.has(summary.textContent)) summary.parentElement.open = true;
  });

  function prepare(root) { showTimes(root); showCharts(root); }
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement ?? document));
  document.addEventListener("visibilitychange", followVisibility);
  // Back from the browser's own cache of pages.
  addEventListener("pageshow", (event) => { if (event.persisted) followVisibility(); });
  prepare(document);
  listen();
})();
