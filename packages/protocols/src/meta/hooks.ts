import type { ProtocolHooks } from "@failstorm/core";
import type { Adapters } from "./adapters.ts";
import type { Router } from "./router.ts";

/** What a mix takes part in: its members each, as far as they are there, and the router. */
export function mixedHooks(adapters: Adapters, router: Router, counters: () => Readonly<Record<string, number>>): ProtocolHooks {
  const present = () => [...adapters.present];
  return {
    async meshSetUp(peers) {
      for (const [, { hooks }] of present()) await hooks?.meshSetUp?.(peers);
    },
    async broadcast(document) {
      for (const [, { hooks }] of present()) await hooks?.broadcast?.(document);
    },
    normalPhase() {
      for (const [, { hooks }] of present()) hooks?.normalPhase?.();
    },
    peerDown(peer, incarnation) {
      router.died(peer);
      for (const [, { hooks }] of present()) hooks?.peerDown?.(peer, incarnation);
    },
    peerUp(peer, incarnation) {
      for (const [, { hooks }] of present()) hooks?.peerUp?.(peer, incarnation);
    },
    extraMetrics() {
      const own = present().map(([name, { hooks }]) =>
        Object.entries(hooks?.extraMetrics?.() ?? {}).map(([key, value]) => [`${name}.${key}`, value] as const),
      );
      return { ...Object.fromEntries(own.flat()), ...counters() };
    },
  };
}
