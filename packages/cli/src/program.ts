import { InputError } from "@failstorm/core";
import { Command, Option } from "commander";
import { nearest } from "./config/nearest.ts";
import { addConfigOptions, flagEntries, rejectOptionsBefore } from "./options.ts";
import { version } from "./project.ts";
import { addQueueCommands } from "./queue/register.ts";

/** What a command says when it is done: the process's exit code. */
export type ExitCode = number;
type Done = (code: ExitCode) => void;

const EXAMPLES = `
Examples:
  failstorm --agents 8                            the full fail-storm, 120 s, 30 % killed at 60 s
  failstorm --agents 4 --time-scale 0.25          in 30 s, to try things
  failstorm --agents 8 --kill-fraction 0          the control: the same run without a fault
  failstorm --agents 8 --seed 7 --transport-signals
  failstorm --topology ring --kill-count 1 --no-restart
  failstorm --config storm.yaml --set network.connection_timeout=5
  pnpm -s failstorm --agents 8 --json | jq .detection_ms      (-s: pnpm itself prints two lines on stdout otherwise)
  failstorm meta --config configs/meta.yaml       all protocols in one network; --kill-protocol anp kills those of one
  failstorm report results/latest                 the numbers again, from the recorded events alone
  failstorm compare --protocols a2a,simple_json --repeats 20 --fault-time 25 --runtime 70
  failstorm diff before after --fail-on recovery_ms:+20%    a gate: exit code 4 when it is worse

Configuration: command line over environment (FAILSTORM_<SECTION>_<KEY>) over --config FILE
(else configs/failstorm.yaml, which explains every key) over the defaults.

Exit codes: 0 done · 1 the run failed · 2 bad input, nothing was started · 3 an invariant is broken (named)
            4 regression (diff) · 130 interrupted by Ctrl-C · 143 by SIGTERM · 129 by a closed terminal
`;

const configOption = (): Option =>
  new Option("-c, --config <file>", "YAML file in place of configs/failstorm.yaml").helpGroup("Configuration:");
const quietOptions = (command: Command): Command =>
  command
    .addOption(new Option("--json", "the metrics as JSON on stdout, and nothing else there").helpGroup("What comes out:"))
    .addOption(new Option("--quiet", "only the result table").helpGroup("What comes out:"))
    .addOption(new Option("--no-color", "no colours (as does NO_COLOR)").helpGroup("What comes out:"));

/** A word that is no command: say which was meant. */
function rejectCommand(program: Command): void {
  const word = program.args[0];
  if (word === undefined) return;
  const commands = program.commands.map((command) => command.name());
  const meant = nearest(word, commands);
  const hint = meant === null ? `the commands are ${commands.join(", ")}` : `did you mean ${meant}?`;
  throw new InputError(`${word}: there is no such command; ${hint} (a run needs none: failstorm --agents 8)`);
}

function addRun(program: Command, done: Done): void {
  quietOptions(addConfigOptions(program.addOption(configOption())))
    .allowExcessArguments()
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; json?: boolean; quiet?: boolean }) => {
      rejectCommand(program);
      const { run } = await import("./commands/run.ts");
      const { json = false, quiet = false } = options;
      done(await run({ ...flagEntries(program), file: options.config ?? null, json, quiet }));
    });
}

function addMeta(program: Command, done: Done): void {
  const command = program
    .command("meta")
    .description("a run over a network in which all protocols live together (--protocol meta)");
  quietOptions(addConfigOptions(command.addOption(configOption()))).action(
    async (options: { config?: string; json?: boolean; quiet?: boolean }) => {
      const { meta } = await import("./commands/meta.ts");
      const { json = false, quiet = false } = options;
      done(await meta({ ...flagEntries(command), file: options.config ?? null, json, quiet }));
    },
  );
}

function addValidate(program: Command, done: Done): void {
  const command = program
    .command("validate")
    .argument("[config]", "YAML file (default: configs/failstorm.yaml)")
    .description("check configuration, ports and write permission; say what would run");
  addConfigOptions(command).action(async (file: string | undefined) => {
    const { validate } = await import("./commands/validate.ts");
    done(await validate({ ...flagEntries(command), file: file ?? null }));
  });
}

interface ReportFlags {
  readonly json?: boolean;
  readonly fresh?: boolean;
  readonly publish?: string;
}

function addReport(program: Command, done: Done): void {
  program
    .command("report")
    .argument("<dir>", "a run's folder, for example results/latest, or an experiment's")
    .description("metrics and page again from the recorded events alone, even of a run that broke off")
    .option(
      "--fresh",
      "of an experiment: compute the metrics of every run anew from its events; the runs' own pages stay as they are, report RUN-DIR makes one again",
    )
    .option(
      "--publish <dir>",
      "of an experiment: write plan, page, tables and figures there too, without what leads to the runs' folders",
    )
    .option("--json", "the metrics as JSON on stdout, and nothing else there")
    .option("--no-color", "no colours (as does NO_COLOR)")
    .action(async (dir: string, { json = false, fresh = false, publish }: ReportFlags) => {
      const { report } = await import("./commands/report.ts");
      done(await report(dir, { json, fresh, publish: publish ?? null }));
    });
  program
    .command("table")
    .argument("<dirs...>", "folders of repeated runs")
    .description("one table over repeated runs: median and range of the headline measures")
    .action(async (dirs: string[]) => {
      const { table } = await import("./commands/table.ts");
      done(table(dirs));
    });
}

const list = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** Options of an experiment, beside those of its runs. */
function experimentOptions(command: Command): Command {
  const group = "The experiment:";
  const option = (flags: string, help: string): Command => command.addOption(new Option(flags, help).helpGroup(group));
  option("--protocols <list>", "protocols to compare, for example a2a,acp (default: all)");
  option("--detectors <list>", "failure detectors, as a factor");
  option("--topologies <list>", "topologies, as a factor");
  option("--kill-fractions <list>", "shares of the agents to kill, as a factor; --agents 8,16,32 is one too");
  command.addOption(
    new Option("--vary <key=list>", "any key of the configuration as a factor (repeatable)").argParser(list).helpGroup(group),
  );
  option("--repeats <n>", "blocks: each variant runs once in each, with the same seed (default: 20)");
  option("--compare <factor>", "the factor whose levels are compared (default: protocol, detector, or the first with several)");
  option("--baseline <level>", "the level the others are set against (default: simple_json, else the first)");
  option("--primary <measure>", "the one measure that is tested by itself (default: service_gap_ms)");
  option("--alpha <x>", "level of significance (default: 0.05)");
  option("--no-aa", "without the second run of the baseline in each block (A/A)");
  option("--fault-free <who>", "runs without a fault in each block: none, baseline or all (default: baseline)");
  option("--preset <name>", "an experiment of configs/experiments, for example paper");
  option("--name <name>", "its folder in results/experiments (default: made of what it is; the same call continues it)");
  option("--retry-failed", "make runs again that failed before");
  return option("--dry-run", "say what would be run, and what it can show");
}

function addResults(program: Command, done: Done): void {
  const commands: Command = program
    .command("diff")
    .argument("<a>", "results before: a run's folder, a folder of repeated runs, an experiment's")
    .argument("<b>", "results after")
    .description("what changed from A to B; exit code 4 on a significant regression")
    .addOption(
      new Option(
        "--fail-on <rule>",
        "MEASURE, MEASURE:+20% or MEASURE:+50 in its unit (repeatable; default: service_gap_ms)",
      ).argParser(list),
    )
    .option("--alpha <x>", "level of significance", "0.05")
    .option("--all", "show measures that did not change, too")
    .option("--json", "the differences as JSON on stdout, and nothing else there");
  commands.action(async (a: string, b: string, options: { failOn?: string[]; alpha: string; all?: boolean; json?: boolean }) => {
    const { diff } = await import("./commands/diff.ts");
    done(
      await diff([a, b], {
        failOn: options.failOn ?? [],
        alpha: Number(options.alpha),
        all: options.all === true,
        json: options.json === true,
      }),
    );
  });
  program
    .command("list")
    .argument("[dir]", "a results folder (default: results)")
    .description("the runs and experiments there are")
    .option("--last <n>", "how many of the newest runs", "30")
    .option("--json", "as JSON on stdout, and nothing else there")
    .action(async (dir: string | undefined, options: { last: string; json?: boolean }) => {
      const last = Number(options.last);
      if (!Number.isInteger(last) || last < 1)
        throw new InputError(`--last ${options.last}: must be a whole number of at least 1, for example 30`);
      const commands = await import("./commands/list.ts");
      done(await commands.list(dir ?? null, { json: options.json === true, last }));
    });
  program
    .command("show")
    .argument("<run>", "a folder, or the beginning of a run's id or an experiment's name")
    .description("what a run or an experiment was, and what came of it")
    .action(async (run: string) => {
      const { show } = await import("./commands/show.ts");
      done(await show(run));
    });
}

const OWN = [
  "protocols",
  "detectors",
  "topologies",
  "killFractions",
  "repeats",
  "compare",
  "baseline",
  "primary",
  "alpha",
  "faultFree",
  "name",
];

function addCompare(program: Command, done: Done): void {
  const command = program
    .command("compare")
    .argument("[experiment]", "YAML file (see configs/experiments)")
    .description("repeat runs in blocks, resumable, and say what differs: tables, figures, report.html");
  experimentOptions(addConfigOptions(command.addOption(configOption())));
  command.addOption(
    new Option("--json", "the comparison as JSON on stdout, and nothing else there").helpGroup("What comes out:"),
  );
  command.action(async (file: string | undefined, options: Record<string, string | boolean | undefined>) => {
    const { compare } = await import("./commands/compare.ts");
    const own = Object.fromEntries(OWN.map((name) => [name, options[name]]));
    const given = { ...own, aa: options["aa"] === false ? false : undefined };
    const vary = (options["vary"] ?? []) as unknown as string[];
    const { preset, config } = options as { preset?: string; config?: string };
    const flag = (name: string): boolean => options[name] === true;
    done(
      await compare({
        ...flagEntries(command),
        file: file ?? null,
        preset: preset ?? null,
        config: config ?? null,
        own: given,
        vary,
        dryRun: flag("dryRun"),
        retryFailed: flag("retryFailed"),
        json: flag("json"),
      }),
    );
  });
}

function addData(program: Command, done: Done): void {
  program
    .command("data")
    .description("corpora of questions")
    .command("generate")
    .description("generate passages and calibrated questions from real facts, in shards")
    .option("--questions <n>", "how many questions", "2000")
    .option("--hops <list>", "hops of the questions", "2,3")
    .option("--passages <n>", "how many passages", "2000")
    .option("--shards <n>", "how many shards", "8")
    .option("--seed <n>", "same seed, same data", "7")
    .requiredOption("--out <dir>", "folder to write; must be new, empty, or hold such data, which are replaced")
    .action(async (options: Record<string, string>) => {
      const { generate } = await import("./commands/generate.ts");
      done(await generate(options));
    });
}

function addLists(program: Command, done: Done): void {
  program
    .command("protocols")
    .description("list the protocols that come with failstorm")
    .action(async () => {
      const { protocols } = await import("./commands/protocols.ts");
      done(await protocols());
    });
  program
    .command("schema")
    .description("print the JSON schema of failstorm_metrics.json")
    .action(async () => {
      const { schema } = await import("./commands/schema.ts");
      done(schema());
    });
}

/** The command line. Heavy modules load only when their command runs. `done` is told the exit code. */
export function createProgram(done: Done): Command {
  const program = new Command("failstorm")
    .description(
      "When a third of your agents die at once, what does your agent protocol do? Runs the fail-storm and measures it.",
    )
    .usage("[options] | [command]")
    .version(version(), "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(failstorm --help explains every option)")
    .exitOverride()
    .hook("preSubcommand", rejectOptionsBefore);
  addRun(program, done);
  addMeta(program, done);
  addValidate(program, done);
  addReport(program, done);
  addCompare(program, done);
  addQueueCommands(program, { done, quietOptions });
  addResults(program, done);
  addData(program, done);
  addLists(program, done);
  return program;
}
