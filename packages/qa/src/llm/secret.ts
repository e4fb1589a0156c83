import { LLM_KEY_VARIABLE } from "@failstorm/core";

/** Shorter values are no secrets: replacing them would only garble words. */
const MIN_SECRET = 4;

/** The text with the key, as it is and as it looks in JSON and in a URL, replaced. */
export function withoutSecret(text: string, secret: string | null): string {
  if (secret === null || secret.length < MIN_SECRET) return text;
  return [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)].reduce(
    (clean, form) => clean.replaceAll(form, "***"),
    text,
  );
}

/**
 * The model's key, taken out of the environment, with every variable that it came from (`OPENAI_API_KEY`, one of the user's), so that nothing
 * this process starts or dumps later has it. null when there is none: an endpoint of one's own may want none.
 */
export function takeLlmKey(env: Record<string, string | undefined>): string | null {
  const key = env[LLM_KEY_VARIABLE];
  delete env[LLM_KEY_VARIABLE];
  if (key === undefined || key === "") return null;
  for (const name of Object.keys(env)) if (env[name]?.trim() === key) delete env[name];
  return key;
}
