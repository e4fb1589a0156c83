import { configureGlobal } from "fast-check";

/*
 * Property tests draw the same cases each time, so that a change is judged by what it changed. `FUZZ_SEED=random` draws others, and
 * `FUZZ_SEED=<number>` those of that run: fast-check prints the number when a property fails.
 */
const wanted = process.env["FUZZ_SEED"] ?? "20261121";
if (wanted !== "random") configureGlobal({ seed: Number(wanted) });
