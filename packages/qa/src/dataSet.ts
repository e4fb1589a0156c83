import { createHash } from "node:crypto";
import { access, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { InputError, makeFolder, RunError } from "@failstorm/core";
import { calibrate, type Question } from "./calibrate.ts";
import type { QuestionSet } from "./corpus.ts";
import { encodeDocument, parseDocument } from "./document.ts";
import { type JsonLine, jsonLines, readInput } from "./jsonLines.ts";
import { DEFAULT_TOP_K } from "./pipeline.ts";
import { dealOut, loadShardedCorpus, withExpectedAnswers } from "./shardedCorpus.ts";

const MANIFEST = "manifest.json";
const DOCUMENT = "document.ndjson";
const QUESTIONS = "questions.jsonl";
const FORM = `{"id": "…", "question": "…?", "gold": "…", "expected": "…", "hops": 2, "evidence": ["…"]}`;
const REMEDY = "generate the data set again";

interface FileRecord {
  readonly bytes: number;
  readonly sha256: string;
}

/** `manifest.json` of a data set. */
interface Manifest {
  readonly format: "failstorm-data-set";
  readonly version: 1;
  readonly seed: number;
  readonly topK: number;
  readonly shardCount: number;
  readonly calibrated: boolean;
  readonly passages: number;
  readonly questions: number;
  readonly hops: readonly number[];
  readonly files: { readonly [DOCUMENT]: FileRecord; readonly [QUESTIONS]: FileRecord };
}

/** How a data set came about; goes into its manifest. */
export interface DataSetOrigin {
  readonly seed: number;
  /** The passages per search it was calibrated for. */
  readonly topK?: number;
}

const record = (bytes: Uint8Array): FileRecord => ({
  bytes: bytes.length,
  sha256: createHash("sha256").update(bytes).digest("hex"),
});

/**
 * Writes document.ndjson, questions.jsonl and manifest.json into `dir`: all of them or, on any failure, nothing. An older data set there is
 * replaced. Throws InputError when `dir` holds something else, RunError (code of the file system) when it cannot be written.
 */
export async function writeDataSet(dir: string, set: QuestionSet, origin: DataSetOrigin): Promise<void> {
  const target = resolve(dir);
  await refuseForeignFolder(target);
  const questions = Buffer.from(set.questions.map((question) => `${JSON.stringify(question)}\n`).join(""), "utf8");
  const manifest: Manifest = {
    format: "failstorm-data-set",
    version: 1,
    seed: origin.seed,
    topK: origin.topK ?? DEFAULT_TOP_K,
    shardCount: set.shardCount,
    calibrated: set.calibrated,
    passages: parseDocument(set.document).flat().length,
    questions: set.questions.length,
    hops: [...new Set(set.questions.map(({ hops }) => hops))].toSorted((a, b) => a - b),
    files: { [DOCUMENT]: record(set.document), [QUESTIONS]: record(questions) },
  };
  let made: string | null = null;
  try {
    makeFolder(dirname(target));
    made = await mkdtemp(join(dirname(target), `.${basename(target)}-`));
    await writeFile(join(made, DOCUMENT), set.document, { flush: true });
    await writeFile(join(made, QUESTIONS), questions, { flush: true });
    await writeFile(join(made, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
    await replaceFolder(made, target);
  } catch (error) {
    if (made !== null) await rm(made, { recursive: true, force: true });
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    throw new RunError(code, `data set ${dir}: cannot be written (${message}); choose another folder or make room`, {
      cause: error,
    });
  }
}

/** Puts `made` in the place of `target`; at no moment is neither the old nor the new on the disk. */
async function replaceFolder(made: string, target: string): Promise<void> {
  const old = `${made}-old`;
  const hadOld = await rename(target, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  try {
    await rename(made, target);
  } catch (error) {
    if (hadOld) await rename(old, target);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

/** Throws InputError when `dir` is no place for a data set: no folder, or one with other files. Nothing happens when it is not there. */
export async function refuseForeignFolder(dir: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new InputError(`out ${dir}: is not a folder that can be used; choose another`, { cause: error });
  }
  const ours = new Set([MANIFEST, DOCUMENT, QUESTIONS]);
  const foreign = names.find((name) => !ours.has(name));
  if (foreign !== undefined) throw new InputError(`out ${dir}: holds other files (${foreign}); choose a new or an empty folder`);
}

/** Reads what writeDataSet wrote. Throws InputError when a file is missing, broken (line named) or not the one of the manifest. */
export async function readDataSet(dir: string): Promise<QuestionSet> {
  return (await readWithManifest(dir)).set;
}

async function readWithManifest(dir: string): Promise<{ set: QuestionSet; manifest: Manifest }> {
  const manifest = readManifest(join(dir, MANIFEST), await readInput(join(dir, MANIFEST), REMEDY));
  const [document, questionBytes] = await Promise.all([DOCUMENT, QUESTIONS].map((name) => readInput(join(dir, name), REMEDY)));
  if (document === undefined || questionBytes === undefined) throw new RangeError("unreachable: two files were read");
  const questions = [...jsonLines(join(dir, QUESTIONS), questionBytes, FORM)].map(readQuestion);
  // Broken lines are named first; a hash tells only that something changed.
  const passages = new Set(parseDocument(document).flatMap((shard) => shard.map(({ id }) => id)));
  for (const [name, bytes, { sha256 }] of [
    [DOCUMENT, document, manifest.files[DOCUMENT]],
    [QUESTIONS, questionBytes, manifest.files[QUESTIONS]],
  ] as const) {
    if (record(bytes).sha256 !== sha256) {
      throw new InputError(`${join(dir, name)}: is not the file of its manifest (another SHA-256); ${REMEDY}`);
    }
  }
  const astray = questions.find(({ evidence }) => evidence.some((id) => !passages.has(id)));
  if (astray !== undefined)
    throw new InputError(`${join(dir, QUESTIONS)}: question ${astray.id} names a passage that is not in the document; ${REMEDY}`);
  return { manifest, set: { document, shardCount: manifest.shardCount, questions, calibrated: manifest.calibrated } };
}

function readManifest(file: string, bytes: Uint8Array): Manifest {
  let manifest: Partial<Manifest> | null;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes)) as Partial<Manifest> | null;
  } catch (error) {
    throw new InputError(`${file}: is not JSON; ${REMEDY}`, { cause: error });
  }
  const { format, version, shardCount, calibrated, topK, files } = manifest ?? {};
  const whole = [shardCount, topK].every((value) => Number.isInteger(value) && Number(value) >= 1);
  const hashed = [files?.[DOCUMENT]?.sha256, files?.[QUESTIONS]?.sha256].every((hash) => typeof hash === "string");
  if (format !== "failstorm-data-set" || version !== 1 || !whole || typeof calibrated !== "boolean" || !hashed) {
    throw new InputError(`${file}: is not the manifest of a data set of version 1; ${REMEDY}`);
  }
  return manifest as Manifest;
}

function readQuestion({ fields, broken }: JsonLine): Question {
  const { id, question, gold, expected, hops, evidence } = fields;
  for (const [key, value] of Object.entries({ id, question, gold, expected })) {
    if (typeof value !== "string") throw broken(`"${key}" must be a text`);
  }
  if (typeof hops !== "number" || !Number.isInteger(hops)) throw broken(`"hops" must be a whole number`);
  if (!Array.isArray(evidence) || !evidence.every((item) => typeof item === "string"))
    throw broken(`"evidence" must be a list of texts`);
  return { id: String(id), question: String(question), gold: String(gold), expected: String(expected), hops, evidence };
}

/**
 * The corpus in `dir`, of whichever kind: a data set that was generated, or sharded JSON Lines in the manner of HotpotQA. A data set made
 * for another number of shards (or passages per search) is dealt out and calibrated anew: questions whose facts no longer lie
 * in different shards, or that are no longer answered right, are left out, and counted. `questions`: at most so many, the first ones.
 */
export async function loadCorpus(options: {
  readonly dir: string;
  readonly shards: number;
  readonly topK?: number;
  readonly questions?: number;
}): Promise<QuestionSet> {
  const { dir, shards: shardCount } = options;
  const generated = await access(join(dir, MANIFEST)).then(
    () => true,
    () => false,
  );
  if (!generated) return loadShardedCorpus(options);
  const { set, manifest } = await readWithManifest(dir);
  const topK = options.topK ?? DEFAULT_TOP_K;
  const fits = set.shardCount === shardCount && manifest.topK === topK;
  const usable = fits ? set : await reshard(set, dir, shardCount, topK);
  return { ...usable, questions: usable.questions.slice(0, options.questions) };
}

async function reshard(set: QuestionSet, dir: string, shardCount: number, topK: number): Promise<QuestionSet> {
  const held = parseDocument(set.document);
  const total = held.flat().length;
  if (total < shardCount)
    throw new InputError(`corpus ${dir}: ${total} passages do not fill ${shardCount} shards; use fewer agents`);
  const shards = set.shardCount === shardCount ? held : dealOut(held.flat(), shardCount);
  const document = encodeDocument(shards);
  if (!set.calibrated) return { ...set, document, shardCount, questions: await withExpectedAnswers(set.questions, shards, topK) };
  const holder = new Map(shards.flatMap((passages, shard) => passages.map(({ id }) => [id, shard] as const)));
  const candidates = set.questions.filter(({ evidence }) => liesApart(evidence, holder, shardCount));
  const questions = await calibrate({ shards, candidates, topK, wanted: null });
  if (questions.length === 0)
    throw new InputError(`corpus ${dir}: no question is left over ${shardCount} shards; ${REMEDY} for that many`);
  const leftOut = set.questions.length - questions.length;
  return { document, shardCount, questions, calibrated: true, ...(leftOut === 0 ? {} : { leftOut }) };
}

function liesApart(evidence: readonly string[], holder: ReadonlyMap<string, number>, shardCount: number): boolean {
  return new Set(evidence.map((id) => holder.get(id))).size >= Math.min(evidence.length, shardCount);
}
