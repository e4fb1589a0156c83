/** Where a value was said. */
export type Origin =
  | { readonly kind: "flag"; readonly name: string }
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "file"; readonly file: string; readonly line: number; readonly column: number };

/** One value of the configuration with its dotted path (`scenario.seed`). A list is one value; a section is none. */
export interface Entry {
  readonly path: string;
  readonly value: unknown;
  readonly origin: Origin;
}

const SECRET_KEY = /(^|[._-])(api[_-]?key|token|secret|password)$/i;
export const isSecret = (path: string): boolean => SECRET_KEY.test(path);

const shown = (path: string, value: unknown): string => {
  if (isSecret(path)) return "***";
  return typeof value === "string" ? value || '""' : JSON.stringify(redact(value));
};

/** JSON has no NaN and no Infinity; say them. */
const printable = (value: unknown): unknown => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);

/** `--agents 0`, `FAILSTORM_SCENARIO_SEED=x`, `storm.yaml:4:3: scenario.seed x`: how an error message names a value. */
export function nameEntry({ path, value, origin }: Entry): string {
  const text = shown(path, printable(value));
  if (origin.kind === "flag") return origin.name.includes("=") ? `${origin.name}${text}` : `${origin.name} ${text}`;
  if (origin.kind === "env") return `${origin.name}=${text}`;
  return `${nameOrigin(origin)}: ${path} ${text}`;
}

export const nameOrigin = (origin: Origin): string =>
  origin.kind === "file" ? `${origin.file}:${origin.line}:${origin.column}` : origin.name.replace(/=$/, "");

/** Replaces what must not be recorded, however deep, by `***`. */
export function redact(value: unknown, path = ""): unknown {
  // A switch is no secret, whatever it is called (anp.access_token: true).
  if (isSecret(path) && value !== null && value !== undefined && typeof value !== "boolean") return "***";
  if (Array.isArray(value)) return value.map((item) => redact(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, key)]));
}

const SECRET_ARGUMENT = /^(.*?(?:^|[^A-Za-z0-9])(?:api[_-]?key|token|secret|password)\s*[=:]).+$/is;

/** The same for a command line, however it is written: `--set llm.api_key=…`, `--set=llm.api_key =…`, `llm={api_key: …}`. */
export const redactArgument = (argument: string): string => argument.replace(SECRET_ARGUMENT, "$1***");
