/** Where the network says what it refused and why. `fields` names peers, addresses and reasons, never a payload or a secret. */
export type NetworkLogger = (
  level: "info" | "warning" | "error",
  message: string,
  fields: Readonly<Record<string, string | number | null>>,
) => void;
