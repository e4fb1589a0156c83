export type { Closing } from "./heldConnection.ts";
export { createMeteredClient, type OwnMeteredClient } from "./meteredClient.ts";
export { loadProtocol, locateProtocol, protocolNames } from "./registry.ts";
