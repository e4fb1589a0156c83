import { loadProtocol, protocolNames } from "@failstorm/protocols";

/** `failstorm protocols`: what there is to choose from, with what each can do. */
export async function protocols(): Promise<number> {
  for (const name of protocolNames()) {
    const protocol = await loadProtocol(name);
    const info = protocol.getProtocolInfo();
    const { method, expectedRoundTrips } = protocol.getReconnectionInfo();
    const can = Object.entries(info.capabilities)
      .filter(([, has]) => has)
      .map(([capability]) => capability);
    process.stdout.write(
      `${name} ${info.version}\n  ${info.description}\n  heartbeat: ${info.heartbeat}\n  reconnects by: ${method} (${expectedRoundTrips} round trip${expectedRoundTrips === 1 ? "" : "s"})\n  can: ${can.join(", ") || "none of streaming, cancel, resume, idempotency, authentication, native probe"}\n`,
    );
  }
  return 0;
}
