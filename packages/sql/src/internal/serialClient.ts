/**
 * One user of a libsql client at a time.
 *
 * `@effect/sql-libsql` lets a single statement slip in while a transaction is open. On another connection it would wait
 * for the transaction with the event loop stopped, and on the same one it would become part of it. And it never
 * recovers from a BEGIN that fails: the permit that it took for the transaction is lost, and every later query waits
 * for ever. So here statements take turns with transactions, and a transaction that cannot begin is one whose
 * statements fail.
 */
import type { Client, Transaction, TransactionMode } from "@libsql/client/sqlite3"
import { codeOf } from "./sqlFailure.ts"

/**
 * The part of the client that `@effect/sql-libsql` calls, and its end. That waits for its turn too: a connection that is
 * closed within a transaction stays, and its locks with it, until all of its statements are collected.
 *
 * @internal
 */
export const make = (client: Client): { readonly client: Client; readonly close: () => Promise<void> } => {
  /** Settles when the turn of the last in line has ended. */
  let last: Promise<void> = Promise.resolve()

  /** Waits for a turn, which lasts until the function that it gives is called. */
  const turn = (): Promise<() => void> => {
    const before = last
    let end = () => {}
    last = new Promise((resolve) => {
      end = resolve
    })
    return before.then(() => end)
  }

  /**
   * After SQLITE_BUSY a connection has a statement that is not reset, and every later COMMIT on it fails. The event loop
   * was stopped for as long as the statement waited, and turns before the next one does.
   */
  const recover = async (error: unknown): Promise<never> => {
    if (codeOf(error) === "SQLITE_BUSY") {
      if (!client.closed) client.reconnect()
      await new Promise((resolve) => setTimeout(resolve, 0))
    }
    throw error
  }
  const settle = <A>(run: () => Promise<A>, end: () => void): Promise<A> => run().catch(recover).finally(end)

  const methods: Pick<Client, "execute" | "transaction"> = {
    execute: (...statement: Parameters<Client["execute"]>) =>
      turn().then((end) => settle(() => client.execute(...statement), end)),
    transaction: (mode?: TransactionMode) =>
      turn().then((end) =>
        client.transaction(mode).then(
          (transaction) => begun(transaction, (run) => settle(run, end)),
          (error: unknown) =>
            recover(error).catch(() => {
              end()
              return failed(error)
            })
        )
      )
  }
  return {
    client: methods as Client,
    close: () =>
      turn().then((end) =>
        // Whoever copies the file after a proper end has everything. After any other end SQLite reads its log.
        client.execute("PRAGMA wal_checkpoint(PASSIVE)").catch(() => {}).then(() => client.close()).finally(end)
      )
  }
}

const begun = (transaction: Transaction, settle: (run: () => Promise<void>) => Promise<void>): Transaction => {
  const methods: Pick<Transaction, "commit" | "execute" | "rollback"> = {
    execute: (statement) => transaction.execute(statement),
    commit: () => settle(() => transaction.commit()),
    rollback: () => settle(() => transaction.rollback())
  }
  return methods as Transaction
}

const failed = (error: unknown): Transaction => {
  const methods: Pick<Transaction, "commit" | "execute" | "rollback"> = {
    execute: () => Promise.reject(error),
    commit: () => Promise.reject(error),
    rollback: () => Promise.resolve()
  }
  return methods as Transaction
}
