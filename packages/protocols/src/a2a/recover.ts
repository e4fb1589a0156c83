import { CommError, type RecoveredWork } from "@failstorm/core";
import type { Attempt } from "./inFlight.ts";
import { isRecord, readTask, type WireTask } from "./wire.ts";

/** The peer, and whether it is one of ours. */
interface Peer {
  readonly rpc: (method: string, params: object) => Promise<unknown>;
  readonly tellsMessageIds: boolean;
}

const STATES: Readonly<Record<string, RecoveredWork["state"]>> = {
  TASK_STATE_COMPLETED: "completed",
  TASK_STATE_FAILED: "failed",
  TASK_STATE_REJECTED: "failed",
  TASK_STATE_CANCELED: "canceled",
};
const stateOf = (task: WireTask): RecoveredWork["state"] => STATES[task.state] ?? "running";

async function oneTask({ rpc }: Peer, taskId: string): Promise<RecoveredWork> {
  try {
    const task = readTask(await rpc("GetTask", { id: taskId, historyLength: 0 }));
    return { workId: taskId, state: task === null ? "unknown" : stateOf(task) };
  } catch (error) {
    if (error instanceof CommError && error.code === "remote") return { workId: taskId, state: "unknown" };
    throw error;
  }
}

/** The peer's tasks of one conversation since the oldest of the attempts, one page. */
async function conversation(peer: Peer, contextId: string, attempts: readonly Attempt[]): Promise<WireTask[]> {
  // Timestamps are of one format, so that they compare as text; one attempt without leaves no bound.
  const oldest = attempts.map(({ since = "" }) => since).reduce((a, b) => (a < b ? a : b));
  try {
    const result = await peer.rpc("ListTasks", {
      contextId,
      pageSize: 100,
      historyLength: peer.tellsMessageIds ? 0 : 2, // the message it answers, before at most one of the peer's own
      ...(oldest === "" ? {} : { statusTimestampAfter: oldest }),
    });
    const tasks: unknown[] = isRecord(result) && Array.isArray(result["tasks"]) ? result["tasks"] : [];
    return tasks.map(readTask).filter((task) => task !== null);
  } catch (error) {
    if (error instanceof CommError && error.code === "remote") return [];
    throw error;
  }
}

/**
 * What became of messages whose answers never came: GetTask where the peer had named its task, one ListTasks for each conversation
 * otherwise. Work that the peer has no record of is named by its messageId. Messages sent outside of a conversation can not be found
 * and are left out. What the client throws passes through; an error that the peer answers with means that it does not know.
 */
export async function recoverWork(lost: readonly Attempt[], peer: Peer): Promise<RecoveredWork[]> {
  const named = lost.flatMap(({ taskId }) => (taskId === null ? [] : [oneTask(peer, taskId)]));
  const unnamed = Map.groupBy(
    lost.filter(({ taskId, contextId }) => taskId === null && contextId !== undefined),
    ({ contextId }) => contextId as string,
  );
  const listed = [...unnamed].map(async ([contextId, attempts]): Promise<RecoveredWork[]> => {
    const tasks = await conversation(peer, contextId, attempts);
    return attempts.map(({ messageId }) => {
      const task = tasks.find(({ messageIds }) => messageIds.includes(messageId));
      return task === undefined ? { workId: messageId, state: "unknown" } : { workId: task.id, state: stateOf(task) };
    });
  });
  return [...(await Promise.all(named)), ...(await Promise.all(listed)).flat()];
}
