import { loadCharts } from "../charts/render.ts";
import type { Comparison, Stratum } from "../comparison/analysis.ts";
import { type DataTable, readable } from "../comparison/dataTable.ts";
import { comparisonTables } from "../comparison/comparisonTables.ts";
import type { Figure } from "../comparison/figureParts.ts";
import { comparisonFigures } from "../comparison/figures.ts";
import { differenceText, labelOf, pText } from "../comparison/tableParts.ts";
import { findMeasure, formatWithUnit, MEASURES, type Measure } from "../measures.ts";
import { defined, renderDocument, type Section } from "./document.ts";
import { type Html, html, raw } from "./html.ts";
import { glossary } from "./runSummary.ts";

/** A table of a comparison; measures have their definition, folders of runs lead to their pages. */
function renderTable(table: DataTable): Html {
  const { columns, rows, notes } = readable(table);
  const body = rows.map(
    (row) =>
      html`<tr>${row.map((cell, i) => {
        const key = columns[i]?.key;
        const measure = key === "measure" && typeof cell.value === "string" ? findMeasure(cell.value) : undefined;
        const text =
          measure !== undefined
            ? defined(cell.text, measure.definition)
            : key === "dir" && cell.text !== ""
              ? html`<a href="${cell.text.split("/").map(encodeURIComponent).join("/")}/report.html">page</a>`
              : cell.text;
        return html`<td class="${columns[i]?.numeric && "num"}${cell.best === true && " best"}">${text}${cell.detail !== undefined && html`<small>${cell.detail}</small>`}</td>`;
      })}</tr>`,
  );
  return html`<div class="scroll"><table><thead><tr>${columns.map((column) => html`<th class="${column.numeric && "num"}">${column.name}</th>`)}</tr></thead><tbody>${body}</tbody></table></div>${notes.map((note) => html`<p class="caption">${note}</p>`)}`;
}

/** What the primary measure says, in words. */
function verdict(comparison: Comparison, stratum: Stratum): Html {
  const measure = findMeasure(comparison.experiment.primary) as Measure;
  const label = (id: string): string => labelOf(comparison, id);
  const ranked = stratum.variants
    .flatMap(({ variant, measures }) => {
      const { median = null, isLowerBound = false } = measures[measure.key] ?? {};
      return median === null ? [] : [{ id: variant.id, median, bound: isLowerBound ? "≥ " : "" }];
    })
    .sort((a, b) =>
      measure.better === "higher" ? b.median.estimate - a.median.estimate : a.median.estimate - b.median.estimate,
    );
  const [first] = ranked;
  if (first === undefined) return html`<p class="lead">No run has given a ${measure.label.toLowerCase()} yet.</p>`;
  const pairs = stratum.pairs.filter((pair) => pair.measure === measure.key && pair.n > 0);
  const significant = pairs.filter((pair) => pair.significant);
  const best = stratum.best[measure.key];
  const harness = stratum.harness.find((spread) => spread.measure === measure.key);
  const range = ranked
    .map(({ id, median, bound }) => `${label(id)} ${bound}${formatWithUnit(median.estimate, measure.unit)}`)
    .join(", ");
  return html`<p class="lead">${stratum.name !== "" && html`<strong>${stratum.name}:</strong> `}${measure.label}, medians: ${range}.
    ${best !== undefined ? html`<strong>${label(best)}</strong> was better than every other, each difference significant. ` : html`No one was better than every other. `}
    Of ${pairs.length} pairs, <strong>${significant.length}</strong> differ significantly${pairs.length > significant.length && ", the others cannot be told apart with these runs"}.
    ${harness?.meanDifference != null && html`The same variant against itself (A/A) differed by ${differenceText(harness.meanDifference, harness.n)} ${measure.unit} on average, p = ${pText(harness.p)}.`}</p>`;
}

function powerText({ power, completeBlocks, experiment }: Comparison): string {
  const { smallestP, neededP, canPass, blocksNeeded, detectableDz, comparisons } = power;
  const p = (value: number): string => value.toPrecision(2);
  const test = `a sign-flip test over ${power.blocks} blocks can give p = ${p(smallestP)} at the least, and Holm's correction over ${comparisons} comparisons asks for ${p(neededP)}`;
  const effect =
    detectableDz === null
      ? ""
      : `; a difference of ${detectableDz.toFixed(2)} standard deviations of the paired differences is found in four of five such experiments`;
  const shows = canPass ? effect : `: nothing can become significant with fewer than ${blocksNeeded} blocks`;
  return `${completeBlocks} of ${experiment.repeats} blocks complete. Planned before the first run: ${test}${shows}.`;
}

async function figuresOf(figures: readonly Figure[], wanted: RegExp): Promise<Html | null> {
  const charts = await loadCharts();
  const parts: Html[] = [];
  for (const { id, caption, spec } of figures.filter((figure) => wanted.test(figure.id)))
    parts.push(
      html`<figure class="chart narrow" id="figure-${id}" role="group" aria-label="${caption}">${raw(await charts.svg(id, spec))}<figcaption>${caption} <a class="ev" href="figures/${id}.svg">SVG</a> <a class="ev" href="figures/${id}.png">PNG</a></figcaption></figure>`,
    );
  return parts.length === 0 ? null : html`${parts}`;
}

function tablesOf(tables: readonly DataTable[], wanted: RegExp): Html | null {
  const own = tables.filter((table) => wanted.test(table.id) && table.rows.length > 0);
  if (own.length === 0) return null;
  return html`${own.map((table) => html`<h3>${table.title}</h3>${renderTable(table)}<p class="caption">${["md", "csv", "tex", "json"].map((ending) => html`<a class="ev" href="tables/${table.id}.${ending}">${ending}</a> `)}</p>`)}`;
}

/** Long, and looked at by few: folded until somebody asks, open on paper. */
function folded(summary: string, body: Html | null): Html | null {
  return body === null ? null : html`<details class="print"><summary>${summary}</summary>${body}</details>`;
}

const METHOD = html`<p>Randomised complete blocks: in each block every variant runs once with the same seed, which gives the same questions at the same times,
  the same victims and the same think times; the order within a block is drawn. Differences are taken within blocks. Intervals: BCa bootstrap (Efron,
  1987), 10 000 resamples of runs or blocks, seeded. Tests: two-sided sign-flip test on the mean paired difference (Fisher, 1935), all patterns counted up to
  20 blocks, corrected after Holm (1979). Runs that never got there are censored at the end of their observation: in the curves after Kaplan and Meier
  (1958), in means and medians with the time they were observed for, which understates them, and in differences as equal to a run of which nobody can
  say that it took less. Runs that are not valid are left out of the numbers and listed
  with the reason; saturated and disturbed runs are in them, flagged, and the differences are given without them too.</p>`;

/** The page of an experiment: one file that needs no other and no network. */
export async function renderComparisonPage(comparison: Comparison): Promise<string> {
  const { experiment, strata, warnings, runs } = comparison;
  const figures = comparisonFigures(comparison);
  const tables = comparisonTables(comparison);
  const compared = [await figuresOf(figures, /^differences/), tablesOf(tables, /^differences/)].filter((part) => part !== null);
  const made = runs.filter(({ digest }) => digest !== null).length;
  const invalid = runs.filter(({ digest }) => digest?.valid === false).length;
  const lost = runs.filter(({ made, digest }) => made !== null && digest === null).length;
  const head = html`<p class="eyebrow">failstorm · comparison</p><h1>${experiment.name}</h1>
    ${experiment.question !== null && html`<p class="lead">${experiment.question}</p>`}
    <p class="facts">${made} of ${runs.length} runs · ${experiment.repeats} blocks · seed ${experiment.seed} · primary measure ${experiment.primary} · baseline ${experiment.baseline} · begun ${experiment.createdAt.slice(0, 10)}${invalid > 0 && ` · ${invalid} not valid`}${lost > 0 && ` · ${lost} without result`}</p>
    ${warnings.length > 0 && html`<div class="banner mild" role="alert"><ul>${warnings.map((warning) => html`<li>${warning}</li>`)}</ul></div>`}
    ${strata.map((stratum) => verdict(comparison, stratum))}<p class="facts">${powerText(comparison)}</p>`;
  const sections: Section[] = [
    { id: "results", title: "Results", body: tablesOf(tables, /^summary/) },
    { id: "intervals", title: "Intervals", body: await figuresOf(figures, /^intervals/) },
    { id: "differences", title: "Differences", body: compared.length === 0 ? null : html`${compared}` },
    { id: "curves", title: "Detection and recovery", body: await figuresOf(figures, /^(ecdf|survival)/) },
    { id: "latency", title: "Latency", body: await figuresOf(figures, /^latency/) },
    { id: "scaling", title: "Cost against N", body: await figuresOf(figures, /^scaling/) },
    { id: "published", title: "Published numbers", body: tablesOf(tables, /^published/) },
    { id: "controls", title: "Controls", body: tablesOf(tables, /^(controls|fault-cost)/) },
    { id: "runs", title: "Runs", body: folded(`${made} runs, with what speaks against each`, tablesOf(tables, /^runs/)) },
    { id: "method", title: "Method", body: METHOD },
    { id: "definitions", title: "Definitions", body: glossary(MEASURES) },
  ];
  const footer = html`<p>Made by failstorm from the runs' recorded events alone; <code>failstorm report DIR</code> makes it again.</p>`;
  return renderDocument({ title: `failstorm ${experiment.name}`, head, sections, footer });
}
