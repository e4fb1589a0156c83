import { type Command, Option } from "commander";
import { addAgentOptions, addQueueOptions, queueFlagEntries } from "./options.ts";

interface Registration {
  /** Is told the exit code. */
  readonly done: (code: number) => void;
  /** Adds what every run's output can be told. */
  readonly quietOptions: (command: Command) => Command;
}

/** The commands `queue` and `agent`. */
export function addQueueCommands(program: Command, registration: Registration): void {
  addQueue(program, registration);
  addAgent(program, registration);
}

const QUEUE_EXAMPLES = `
Examples:
  failstorm queue --workers 4 --protocol a2a                  1 000 generated questions
  failstorm queue --questions mine.jsonl --batch 8            {"id": "q1", "q": "…"} a line
  tail -f questions.jsonl | failstorm queue --questions -     an endless stream
  failstorm queue --worker http://127.0.0.1:9101 --worker http://127.0.0.1:9102 --protocol a2a
  failstorm queue --kill-fraction 0.25 --kill-coordinator --fault-time 10
  failstorm queue --resume results/queue/a2a/20261121-110533-7     (so does the same call again)
`;

function addQueue(program: Command, { done, quietOptions }: Registration): void {
  const command = program
    .command("queue")
    .description("a coordinator feeds workers with questions, one result each, whatever is killed")
    .addHelpText("after", QUEUE_EXAMPLES);
  quietOptions(addQueueOptions(command))
    .addOption(new Option("-c, --config <file>", "YAML file in place of configs/queue.yaml").helpGroup("Configuration:"))
    .addOption(
      new Option("--preset <name>", "paper: the published setting (1 000 questions, 4 workers), its table beside ours").choices([
        "paper",
      ]),
    )
    .option("--resume <dir>", "go on with the run in this folder")
    .option("--fresh", "a new run, even where an equal one is unfinished")
    .action(async (options: Record<string, string | boolean | undefined>) => {
      const { queue } = await import("../commands/queue.ts");
      const word = (name: string): string | null => (options[name] as string | undefined) ?? null;
      const flag = (name: string): boolean => options[name] === true;
      const rest = {
        resume: word("resume"),
        preset: word("preset"),
        fresh: flag("fresh"),
        json: flag("json"),
        quiet: flag("quiet"),
      };
      done(await queue({ ...queueFlagEntries(command), file: word("config"), ...rest }));
    });
}

const AGENT_EXAMPLE = `
Example:
  failstorm agent --protocol a2a --port 9101 &
  failstorm queue --protocol a2a --worker http://127.0.0.1:9101
`;

function addAgent(program: Command, { done }: Registration): void {
  const command = program
    .command("agent")
    .description("one worker by itself, in the foreground, for queues of anybody who speaks its protocol; Ctrl-C ends it")
    .addHelpText("after", AGENT_EXAMPLE);
  addAgentOptions(command)
    .requiredOption("--port <port>", "where to listen; 0 = any free port")
    .option("--host <address>", "which address to listen on", "127.0.0.1")
    .option("--name <id>", "what it goes by (default: worker-at-PORT)")
    .option("-c, --config <file>", "YAML file in place of configs/queue.yaml")
    .action(async (options: { port: string; host: string; name?: string; config?: string }) => {
      const { agent } = await import("../commands/agent.ts");
      const { port, host, name = null, config = null } = options;
      done(await agent({ ...queueFlagEntries(command), file: config, port, host, name }));
    });
}
