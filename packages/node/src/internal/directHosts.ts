/** The hosts of `http:` that a run names, for a transport of the app's own too: it is built over `NodeTransport.layer`. */
import * as Context from "effect/Context"

/** @internal */
export class DirectHosts extends Context.Reference<DirectHosts>()("@agent-identity/node/DirectHosts", {
  defaultValue: (): ReadonlyArray<string> => []
}) {}
