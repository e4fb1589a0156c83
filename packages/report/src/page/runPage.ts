import { loadCharts } from "../charts/render.ts";
import { MEASURES } from "../measures.ts";
import type { RunRecord } from "../run.ts";
import type { FailstormMetrics, StormMetrics } from "../schema.ts";
import { gradeTasks } from "../tasks.ts";
import { readTimeline, type Storm } from "../timeline.ts";
import { detectionFigure } from "./detectionChart.ts";
import { mixSection } from "../meta/mixSection.ts";
import { renderDocument, type Section } from "./document.ts";
import { evidenceSection, runEvidence, stormEvidence } from "./evidence.ts";
import { type Html, html } from "./html.ts";
import { meshFigure } from "./meshFigure.ts";
import { glossary, resultTable, tiles, verdict, warnings } from "./runSummary.ts";
import { detailTables, setup } from "./runTables.ts";
import type { BrokenInvariant, RunView } from "./runView.ts";
import { sequenceFigure } from "./sequenceFigure.ts";
import { takeoverFigure } from "./takeoverChart.ts";
import { timelineFigure } from "./timelineChart.ts";
import { trafficFigure } from "./trafficChart.ts";

/** Further storms of a run have their own figures up to here. */
const MAX_STORMS = 5;

/** A picture that cannot be drawn is said so in its place: the others and the numbers are still worth their page. */
async function drawn(figure: () => Promise<Html> | Html): Promise<Html> {
  try {
    return await figure();
  } catch (error) {
    return html`<p class="none">This picture could not be drawn: ${error instanceof Error ? error.message : String(error)}</p>`;
  }
}

type PerStorm = (view: RunView, storm: Storm, metrics: StormMetrics) => Promise<Html> | Html;

/** A figure for each storm, each under its own heading when there are several; null when there is none. */
async function forStorms(view: RunView, figure: PerStorm): Promise<Html | null> {
  const { storms } = view.timeline;
  const parts: Html[] = [];
  for (const [i, storm] of storms.slice(0, MAX_STORMS).entries()) {
    const metrics = view.metrics.storms[i];
    if (metrics === undefined) continue;
    const heading = storms.length > 1 ? html`<h3>Storm ${i + 1}, at ${(metrics.at_ms / 1000).toFixed(1)} s</h3>` : null;
    parts.push(html`${heading}${await drawn(() => figure(view, storm, metrics))}`);
  }
  return parts.length === 0 ? null : html`${parts}`;
}

async function sections(view: RunView): Promise<Section[]> {
  const hasLoad = Number.isFinite(view.timeline.loadFromMs);
  const evidence = [
    ...view.timeline.storms.flatMap((storm, i) => {
      const metrics = view.metrics.storms[i];
      return metrics === undefined ? [] : stormEvidence(view, storm, metrics);
    }),
    ...runEvidence(view),
  ];
  return [
    { id: "timeline", title: "Timeline", body: hasLoad ? await drawn(() => timelineFigure(view)) : null },
    { id: "detection", title: "Detection", body: await forStorms(view, detectionFigure) },
    { id: "mesh", title: "Links", body: await forStorms(view, meshFigure) },
    { id: "takeover", title: "Takeover", body: await forStorms(view, takeoverFigure) },
    { id: "traffic", title: "Traffic", body: hasLoad ? await drawn(() => trafficFigure(view)) : null },
    { id: "protocols", title: "Protocols", body: mixSection(view.metrics.meta) },
    { id: "question", title: "The path of a question", body: hasLoad ? await drawn(() => sequenceFigure(view)) : null },
    { id: "results", title: "Results", body: resultTable(view) },
    { id: "details", title: "Details", body: detailTables(view) },
    { id: "evidence", title: "Events", body: evidenceSection(evidence) },
    { id: "setup", title: "Setup", body: setup(view) },
    { id: "definitions", title: "Definitions", body: glossary(MEASURES) },
  ];
}

/**
 * The page of a run, from its record alone: one file of HTML that needs no other and no network. Loads vega (about 0.2 s), and takes about
 * a second for a default run.
 */
export async function renderRunPage(input: {
  readonly run: RunRecord;
  readonly metrics: FailstormMetrics;
  readonly violations: readonly BrokenInvariant[];
}): Promise<string> {
  const { run, metrics } = input;
  const timeline = readTimeline(run);
  const view: RunView = { ...input, timeline, tasks: gradeTasks(run, timeline), charts: await loadCharts() };
  const started = typeof run.manifest?.["startedAt"] === "string" ? new Date(run.manifest["startedAt"]).toUTCString() : "";
  const head = html`<p class="eyebrow">failstorm · ${metrics.scenario} · run ${metrics.run_id}</p>
    <h1>${metrics.protocol}: ${metrics.agent_count} agents${metrics.storms.length === 0 ? "" : `, ${metrics.victims?.length ?? 0} ${metrics.fake === true ? "marked" : metrics.kind === "sigstop" ? "stopped" : "killed"}`}</h1>
    <p class="facts">${run.config.network.topology} · ${run.config.network.detector} detector · seed ${metrics.seed} · ${started}</p>
    ${warnings(view)}${verdict(metrics)}${tiles(view)}`;
  const footer = html`<p>Made by failstorm from events.ndjson; times are CLOCK_MONOTONIC of one machine. Nothing in this page is typed in by hand.</p>`;
  return renderDocument({
    title: `failstorm ${metrics.protocol} ${metrics.run_id}`,
    head,
    sections: await sections(view),
    footer,
  });
}
