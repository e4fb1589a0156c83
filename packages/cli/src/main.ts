import { enableCompileCache } from "node:module";

// Before the rest is loaded, which is why that is not imported above: without it a quarter of the CPU time of `--help` goes into compiling.
enableCompileCache();
const { InputError } = await import("@failstorm/core");
const { CommanderError } = await import("commander");
const { createProgram } = await import("./program.ts");
const { failure } = await import("./view/log.ts");

/** `pnpm failstorm -- --agents 8` hands the dashes on. */
const withoutSeparator = (argv: readonly string[]): string[] => (argv[0] === "--" ? argv.slice(1) : [...argv]);

/** Bad input is 2, whoever noticed it; help and version are 0; anything else that is thrown is a failed run. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  failure(error);
  return error instanceof InputError ? 2 : 1;
}

// `failstorm … | head` closes the pipe, and a terminal may be closed (EIO): no reason for a stack trace, nor for breaking off a run.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
  });
}

const program = createProgram((code) => {
  process.exitCode = code;
});
try {
  await program.parseAsync(withoutSeparator(process.argv.slice(2)), { from: "user" });
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
