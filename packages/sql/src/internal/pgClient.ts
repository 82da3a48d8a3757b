/** A connection to PostgreSQL that is not used again after a call on it has timed out. */
import Pg from "pg"

/**
 * The driver gives a query up after its `query_timeout`, and returns the connection to the pool as if it were good: it
 * still waits for the answer, or is dead. So any error of a query that the server did not send ends the connection.
 * The pool sees that at once, and makes another one when it is asked.
 *
 * A cursor has no callback, and its timer runs on after its end: it is left to the driver.
 *
 * @internal
 */
export class PgClient extends Pg.Client {
  // The driver has an overload for each form of its arguments. Common to them is that a callback comes last.
  override query(...args: Array<never>): never {
    const query = super.query as (...args: ReadonlyArray<unknown>) => unknown
    const callback: unknown = args.at(-1)
    if (typeof callback === "function") {
      return query.call(this, ...args.slice(0, -1), (error: unknown, result: unknown) => {
        this.#judge(error)
        callback(error, result)
      }) as never
    }
    const result = query.apply(this, args)
    if (result instanceof Promise) result.catch((error: unknown) => this.#judge(error))
    return result as never
  }

  #judge(error: unknown): void {
    // The driver's types do not have it.
    const { connection } = this as unknown as { readonly connection: Pg.Connection }
    if (!(error instanceof Error) || error instanceof Pg.DatabaseError || connection.stream.destroyed) return
    if (error.message === "Query read timeout") Object.assign(error, { code: "ETIMEDOUT" })
    connection.stream.destroy()
    // As the driver does when a socket breaks: nothing else is sent over it, and what was queued fails.
    connection.emit("error", error)
  }
}
