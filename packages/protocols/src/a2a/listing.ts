import type { ListTasksRequest, ListTasksResponse, Task } from "@a2a-js/sdk";
import { TaskState } from "@a2a-js/sdk";
import { RequestMalformedError } from "@a2a-js/sdk/errors";
import { EXTENSION_URI } from "./wire.ts";

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 100;

/** Throws RequestMalformedError unless it is absent or a number of messages. */
export function checkHistoryLength(historyLength: number | undefined): void {
  if (historyLength !== undefined && (!Number.isInteger(historyLength) || historyLength < 0))
    throw new RequestMalformedError("historyLength is not a whole number from 0 up");
}

/** The task with at most that many of its latest messages; all of them when no number is given (spec §3.2.4). */
export function withHistory(task: Task, historyLength: number | undefined): Task {
  if (historyLength === undefined) return task;
  checkHistoryLength(historyLength);
  return { ...task, history: historyLength === 0 ? [] : task.history.slice(-historyLength) };
}

/** Where a page ended: a place in the order of all tasks, which stays where it is when tasks come and go. */
interface Cursor {
  readonly timestamp: string;
  readonly id: string;
}

const placeOf = (task: Task): Cursor => ({ timestamp: task.status?.timestamp ?? "", id: task.id });

/** Latest status first; timestamps are all of one format, so that they sort as text. */
const byPlace = (a: Cursor, b: Cursor): number =>
  b.timestamp === a.timestamp ? (b.id < a.id ? -1 : Number(b.id > a.id)) : b.timestamp < a.timestamp ? -1 : 1;

const encode = ({ timestamp, id }: Cursor): string => Buffer.from(`${timestamp} ${id}`).toString("base64url");

function decode(token: string): Cursor {
  const match = /^(\S*) (\S+)$/.exec(Buffer.from(token, "base64url").toString("utf8"));
  if (match === null) throw new RequestMalformedError("pageToken is none of this agent's");
  return { timestamp: match[1] ?? "", id: match[2] ?? "" };
}

function checkFilters({ pageSize = DEFAULT_PAGE_SIZE, status, statusTimestampAfter = "" }: ListTasksRequest) {
  if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > MAX_PAGE_SIZE)
    throw new RequestMalformedError(`pageSize is not a whole number from 1 to ${MAX_PAGE_SIZE}`);
  if (status === TaskState.UNRECOGNIZED) throw new RequestMalformedError("status is no task state");
  const after = statusTimestampAfter === "" ? null : Date.parse(statusTimestampAfter);
  if (after !== null && Number.isNaN(after)) throw new RequestMalformedError("statusTimestampAfter is no ISO 8601 date");
  return { pageSize, after };
}

/**
 * ListTasks (spec §3.1.4): filtered, latest first, by pages. By our extension each task tells in its metadata which messageId it
 * answers: a client that never learned its task's id finds it without having the messages sent back. Throws RequestMalformedError.
 */
export function listTasks(all: readonly Task[], params: ListTasksRequest): ListTasksResponse {
  const { pageSize, after } = checkFilters(params);
  const matching = all.filter(
    ({ contextId, status }) =>
      (params.contextId === "" || contextId === params.contextId) &&
      (params.status === TaskState.TASK_STATE_UNSPECIFIED || status?.state === params.status) &&
      (after === null || Date.parse(status?.timestamp ?? "") >= after),
  );
  const start = params.pageToken === "" ? null : decode(params.pageToken);
  const rest = matching
    .filter((task) => start === null || byPlace(start, placeOf(task)) < 0)
    .sort((a, b) => byPlace(placeOf(a), placeOf(b)));
  const page = rest.slice(0, pageSize);
  const last = page.at(-1);
  return {
    tasks: page.map((task) => ({
      ...withHistory(task, params.historyLength),
      metadata: { ...task.metadata, [EXTENSION_URI]: task.history[0]?.messageId },
      artifacts: params.includeArtifacts === true ? task.artifacts : [],
    })),
    nextPageToken: last === undefined || rest.length === page.length ? "" : encode(placeOf(last)),
    pageSize,
    totalSize: matching.length,
  };
}
