/** How one request to a model ended. */
export const LLM_STATUSES = [
  "ok", // a whole reply
  "length", // a reply that hit the limit of tokens: its end is missing
  "filtered", // withheld by the provider's filter
  "cut", // the connection ended in mid-reply
  "garbage", // an answer that is none of this API
  "too_large", // more than a reply may have
  "timeout", // no whole reply in the time for one request
  "aborted", // the task's deadline passed, or the process ends
  "unreachable", // no connection
  "rate_limited", // 429
  "server_error", // 5xx, 408, 409
  "unauthorized", // 401, 403
  "rejected", // any other 4xx
] as const;
export type LlmStatus = (typeof LLM_STATUSES)[number];

/** What became of a step or a question that was given to a model. */
export const MODEL_OUTCOMES = [
  "ok",
  "nonsense", // the last reply was not the result asked for
  "endless", // it still called functions when its rounds were over
  ...LLM_STATUSES.filter((status) => status !== "ok"),
] as const;
export type ModelOutcome = (typeof MODEL_OUTCOMES)[number];
