export { createMeteredClient, type OwnMeteredClient } from "./meteredClient.ts";
export { loadProtocol, protocolNames } from "./registry.ts";
