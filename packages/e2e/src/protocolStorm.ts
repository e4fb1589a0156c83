import { afterAll, beforeAll, expect, it } from "vitest";
import { type EndedRun, openSandbox, words } from "./runCli.ts";

/** A storm with a restart, whose steps take so long that some are under way at the victim when it is killed. */
const storm = words(
  "--agents 4 --kill-count 1 --seed 4 --runtime 14 --fault-time 4 --restart-after 3 --rate 1 --think-time 0.5 --deadline 9 --heartbeat-interval 0.5 --heartbeat-timeout 1.5",
);

/**
 * The same storm over each protocol: what it takes to serve, to lose and to find an agent again, spoken natively. A test file each.
 * `fate`: what a restarted agent says of the work that its former self had under way; null where the protocol has no way to ask.
 */
export function testStormOver(
  protocol: string,
  { options = [], fate = null }: { readonly options?: readonly string[]; readonly fate?: string | null } = {},
): void {
  const sandbox = openSandbox();
  afterAll(() => sandbox.close());
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run(["--protocol", protocol, ...storm, ...options]);
  });

  it("loses no task and nobody alive, and breaks no invariant", () => {
    expect(run.code, run.stderr).toBe(0);
    expect(run.metrics).toMatchObject({ protocol, tasks_lost: 0, false_positives: 0, partial: false });
  });

  it("is worked through: most answers are right, and in time", () => {
    const { goodput } = run.metrics;
    expect(goodput?.whole.n).toBeGreaterThan(30);
    expect(goodput?.whole.rate).toBeGreaterThan(0.5);
  });

  it("is reconnected by a handshake of the protocol, and by one with the victim's next incarnation", () => {
    expect(run.metrics.recovery_ms, JSON.stringify(run.metrics.reasons)).toBeGreaterThan(0);
    expect(run.metrics.bytes_reconnect?.by_cause["handshake"]).toBeGreaterThan(0);
    const victim = run.schedule.faults[0]?.victims[0];
    const back = run.of("link.up").filter((event) => event.peer === victim && event.peerInc === 2);
    expect(new Set(back.map((event) => event.src)).size).toBe(3);
    expect(run.metrics.rejoin_ms?.reached).toBe(1);
  });

  it("hears what became of the work that was under way there, where the protocol can ask", () => {
    const { recovered_work } = run.metrics;
    if (fate === null) {
      expect(recovered_work).toBe(null);
      return;
    }
    expect(recovered_work?.asked, JSON.stringify(run.metrics.reasons)).toBeGreaterThan(0);
    expect(recovered_work?.by_state, "all of one fate, none running for ever").toEqual({ [fate]: recovered_work?.asked });
  });
}
