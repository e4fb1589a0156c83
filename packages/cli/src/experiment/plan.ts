import { createHash } from "node:crypto";
import { createPrng, InputError } from "@failstorm/core";
import type { Experiment } from "@failstorm/report/comparison/experiment.ts";
import { isSecret, nameEntry } from "../config/entry.ts";
import { type ExperimentSpec, factorName, type Level } from "./spec.ts";

type Variant = Experiment["variants"][number];

const inFileName = (text: string): string => text.replaceAll(/[^A-Za-z0-9.@-]+/g, "_");

/** Every combination of levels, the first factor varying slowest. */
function cross(factors: readonly (readonly [string, readonly Level[]])[]): Record<string, Level>[] {
  let all: Record<string, Level>[] = [{}];
  for (const [name, levels] of factors)
    all = all.flatMap((one) => levels.map((level) => Object.assign({}, one, { [name]: level })));
  return all;
}

/** What is compared when nothing is said; other factors then are what it is compared at. */
const PREFERRED = ["protocol", "detector"];

function chooseCompared(spec: ExperimentSpec): string {
  const { compare, factors } = spec;
  const names = [...factors.keys()];
  if (compare !== null) {
    const name = factorName(compare);
    if (factors.has(name)) return name;
    throw new InputError(`compare ${compare}: is no factor of this experiment; choose one of ${names.join(", ")}`);
  }
  const isVaried = (name: string): boolean => (factors.get(name)?.levels.length ?? 0) > 1;
  const varied = PREFERRED.find(isVaried) ?? names.find(isVaried);
  if (varied === undefined)
    throw new InputError("nothing to compare: give a factor with more than one level, for example --protocols a2a,acp");
  return varied;
}

function chooseBaseline({ baseline, factors }: ExperimentSpec, compared: string): string {
  const factor = factors.get(compared);
  const levels = (factor?.levels ?? []).map(String);
  if (baseline !== null && !levels.includes(baseline))
    throw new InputError(`baseline ${baseline}: is no level of ${compared}; choose one of ${levels.join(", ")}`);
  const first = levels[0];
  if (first === undefined) throw new InputError(`${factor === undefined ? compared : nameEntry(factor.entry)}: has no levels`);
  return baseline ?? (levels.includes("simple_json") ? "simple_json" : first);
}

/** A level as one names it: a number or truth value says nothing without its factor. */
function levelName(factor: string, level: Level | undefined): string {
  if (factor === "agents") return `${String(level)} agents`;
  const leaf = factor.split(".").at(-1) ?? factor;
  return typeof level === "string" ? level : `${leaf.replaceAll("_", " ")} ${String(level)}`;
}

function makeVariants(spec: ExperimentSpec, compared: string): Variant[] {
  const factors = [...spec.factors].map(([name, { levels }]) => [name, levels] as const);
  const varied = factors.filter(([, levels]) => levels.length > 1).map(([name]) => name);
  const variants = cross(factors).map((levels) => {
    const rest = varied.filter((name) => name !== compared);
    const names = [compared, ...rest];
    const id = inFileName(names.map((name) => levelName(name, levels[name]).replaceAll(" ", "_")).join("-"));
    const label = names.map((name) => levelName(name, levels[name])).join(", ");
    return { id, label, levels, stratum: rest.map((name) => `${name} ${String(levels[name])}`).join(", ") };
  });
  for (const [i, { id, label }] of variants.entries()) {
    const other = variants.slice(0, i).find((variant) => variant.id === id);
    if (other !== undefined)
      throw new InputError(
        `${other.label} and ${label}: would both be called ${id} in file names; name one of the levels otherwise`,
      );
  }
  return variants;
}

/** The runs of one block: every variant, in each stratum its baseline once more (A/A), and without a fault whom the controls name. */
function blockRuns(
  spec: ExperimentSpec,
  variants: readonly Variant[],
  compared: string,
  baseline: string,
): { variant: string; role: "variant" | "aa" | "no_fault" }[] {
  const isBaseline = (variant: Variant): boolean => String(variant.levels[compared]) === baseline;
  const { aa, no_fault } = spec.controls;
  return variants.flatMap((variant) => [
    { variant: variant.id, role: "variant" as const },
    ...(aa && isBaseline(variant) ? [{ variant: variant.id, role: "aa" as const }] : []),
    ...(no_fault === "all" || (no_fault === "baseline" && isBaseline(variant))
      ? [{ variant: variant.id, role: "no_fault" as const }]
      : []),
  ]);
}

/** Settings that decide what is run; where it is put does not, nor does a key, which is not recorded. */
const ofRuns = ({ settings }: ExperimentSpec): ExperimentSpec["settings"] =>
  settings.filter(({ path }) => path !== "output.dir" && !isSecret(path));

/** What distinguishes an experiment from another: the same request continues it. */
function nameOf(spec: ExperimentSpec, compared: string): string {
  const essence = JSON.stringify([
    [...spec.factors].map(([name, { levels }]) => [name, levels]),
    ofRuns(spec)
      .map(({ path, value }) => [path, value])
      .sort((a, b) => String(a[0]).localeCompare(String(b[0]))),
    [spec.repeats, spec.seed, spec.primary, spec.alpha, spec.baseline, spec.controls, compared],
  ]);
  return `${inFileName(compared)}-${createHash("sha256").update(essence).digest("hex").slice(0, 8)}`;
}

/**
 * Plans an experiment: a randomised complete block design. Block b has the seed `seed` + b − 1, and its runs a seeded order. Pure.
 * Throws InputError when there is nothing to compare.
 */
export function planExperiment(spec: ExperimentSpec, createdAt: string): Experiment {
  const compared = chooseCompared(spec);
  const baseline = chooseBaseline(spec, compared);
  const variants = makeVariants(spec, compared);
  const order = createPrng(spec.seed, "order");
  const suffix = { variant: "", aa: "-aa", no_fault: "-no_fault" } as const;
  const digits = String(spec.repeats).length;
  const runs = Array.from({ length: spec.repeats }, (_, b) =>
    order
      .fork(`block/${b}`)
      .shuffle(blockRuns(spec, variants, compared, baseline))
      .map(({ variant, role }) => ({
        id: `b${String(b + 1).padStart(digits, "0")}-${variant}${suffix[role]}`,
        block: b + 1,
        variant,
        role,
        seed: spec.seed + b,
      })),
  ).flat();
  return {
    format: "failstorm-experiment",
    version: 1,
    name: spec.name ?? nameOf(spec, compared),
    question: spec.question,
    createdAt,
    factors: Object.fromEntries([...spec.factors].map(([name, { levels }]) => [name, [...levels]])),
    compare: compared,
    baseline,
    primary: spec.primary,
    alpha: spec.alpha,
    seed: spec.seed,
    repeats: spec.repeats,
    controls: spec.controls,
    settings: Object.fromEntries(ofRuns(spec).map(({ path, value }) => [path, value])),
    variants,
    runs,
    published: spec.published,
  };
}
