import { metricsJsonSchema } from "@failstorm/report";

/** `failstorm schema`. */
export function schema(): number {
  process.stdout.write(`${JSON.stringify(metricsJsonSchema(), null, 2)}\n`);
  return 0;
}
