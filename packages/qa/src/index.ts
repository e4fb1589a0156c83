export { calibrate, type Question } from "./calibrate.ts";
export { type CorpusOptions, generateCorpus, type QuestionSet } from "./corpus.ts";
export { type DataSetOrigin, loadCorpus, readDataSet, refuseForeignFolder, writeDataSet } from "./dataSet.ts";
export { encodeDocument, type Passage, parseDocument } from "./document.ts";
export { type Answer, answerQuestion, DEFAULT_TOP_K, type PipelinePorts } from "./pipeline.ts";
export { answerWithModel, type ModelAnswer } from "./llm/answer.ts";
export { type LlmCallEvent, type Model, type ModelOptions, openModel } from "./llm/model.ts";
export { runToolWithModel } from "./llm/step.ts";
export { takeLlmKey } from "./llm/secret.ts";
export { loadDocument } from "./plainDocument.ts";
export { QueueAudit, type QueueViolation } from "./queue/audit.ts";
export { DoneSet } from "./queue/doneSet.ts";
export {
  type FailureCode,
  type FinishedQuestion,
  QUEUE_DEFAULTS,
  type QueueEffect,
  type QueueEngineConfig,
  type QueueStatus,
  type SentQuestion,
  type WorkerAnswer,
  type WorkerFailure,
} from "./queue/effects.ts";
export { QueueEngine } from "./queue/engine.ts";
export type { BadLine, QuestionSource, QueueQuestion } from "./queue/question.ts";
export { type GeneratedQueue, generateQueue } from "./queue/generatedQuestions.ts";
export { type Journal, openJournal, type Replay } from "./queue/journal.ts";
export { openQuestionFile } from "./queue/questionFile.ts";
export { questionStream } from "./queue/questionStream.ts";
export { writeResultsDocument } from "./queue/resultsFile.ts";
export { ToolInputError } from "./schema.ts";
export { loadShardedCorpus } from "./shardedCorpus.ts";
export { type Hit, mergeHits, type ShardRole, ShardStore } from "./shardStore.ts";
export { runTool, type ToolPorts } from "./tools.ts";
