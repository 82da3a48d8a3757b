/** Why two agents never share what a layer has built. */
import * as Layer from "effect/Layer"

/**
 * Keeps what is built inside apart from everything else: Effect builds a layer that is a constant once for all that are
 * built together, whatever was provided to it, and so would hand the state of one agent to another. The value that this
 * returns is itself built once for all of its dependents; a layer with `Layer.fresh` at its root never is.
 * @internal
 */
export const isolated = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> => {
  const built = Layer.fresh(layer)
  return Layer.suspend(() => built)
}
