import path from "node:path";
import { createPrng, InputError } from "@failstorm/core";
import { userFolder } from "../project.ts";
import { checkWritable } from "../run/folder.ts";
import { log } from "../view/log.ts";
import { shownPath } from "./config.ts";

function wholeNumber(option: string, given: string | undefined): number {
  if (given === undefined || !/^\d+$/.test(given))
    throw new InputError(`--${option} ${given}: must be a whole number, for example 2000`);
  return Number(given);
}

const wholeNumbers = (option: string, given: string | undefined): number[] =>
  (given ?? "").split(",").map((word) => wholeNumber(option, word.trim()));

/** `failstorm data generate`: a calibrated corpus as files, for `--corpus DIR`. */
export async function generate(options: Readonly<Record<string, string>>): Promise<number> {
  const seed = wholeNumber("seed", options["seed"]);
  const request = {
    questions: wholeNumber("questions", options["questions"]),
    hops: wholeNumbers("hops", options["hops"]),
    passages: wholeNumber("passages", options["passages"]),
    shards: wholeNumber("shards", options["shards"]),
  };
  if (request.questions === 0) throw new InputError("--questions 0: nothing could be asked; give at least 1, for example 2000");
  const out = path.resolve(userFolder(), options["out"] ?? "");
  const { generateCorpus, refuseForeignFolder, writeDataSet } = await import("@failstorm/qa");
  // A large corpus takes a minute: better known before.
  await refuseForeignFolder(out);
  checkWritable(path.dirname(out), "--out");
  const set = await generateCorpus({ ...request, prng: createPrng(seed) });
  await writeDataSet(out, set, { seed });
  log(
    "SUCCESS",
    `${set.questions.length} questions over ${request.passages} passages in ${request.shards} shards: ${shownPath(out)}`,
  );
  log("INFO", `run over it: pnpm failstorm --agents ${request.shards} --corpus ${shownPath(out)}`);
  return 0;
}
