export { calibrate, type Question } from "./calibrate.ts";
export { type CorpusOptions, generateCorpus, type QuestionSet } from "./corpus.ts";
export { encodeDocument, type Passage, parseDocument } from "./document.ts";
export { type Answer, answerQuestion, DEFAULT_TOP_K, type PipelinePorts } from "./pipeline.ts";
export { ToolInputError } from "./schema.ts";
export { evidenceRecall, exactMatch, normalizeAnswer, tokenF1 } from "./scores.ts";
export { type Hit, mergeHits, type ShardRole, ShardStore } from "./shardStore.ts";
export { runTool, type ToolPorts } from "./tools.ts";
