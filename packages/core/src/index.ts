export * from "./abandoned.ts";
export * from "./clock.ts";
export * from "./comm.ts";
export * from "./config.ts";
export * from "./control.ts";
export * from "./errors.ts";
export * from "./eventLog.ts";
// Types only: the schemas of events.ts and requests.ts load zod, which an agent does not wait for when it starts.
export type * from "./events.ts";
export * from "./ids.ts";
export * from "./llm.ts";
export * from "./makeFolder.ts";
export * from "./prng.ts";
export * from "./queue.ts";
export type * from "./queueResult.ts";
export type * from "./requests.ts";
