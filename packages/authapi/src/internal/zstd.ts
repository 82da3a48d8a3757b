/**
 * Bodies in Zstandard (RFC 8878), decoded in a worker thread.
 *
 * fzstd is what loads on every Node since 20, and it trusts its input: version 0.1.1 takes a window of 2 GiB from a
 * header of six bytes, and loops for ever on a Huffman table that has one symbol. So a frame is measured before it is
 * decoded, and a worker that is not done in time is terminated.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pool from "effect/Pool"
import type * as Scope from "effect/Scope"
import type { Worker } from "node:worker_threads"

/** @internal */
export type Failure = "Malformed" | "TooLarge" | "Timeout"

/** @internal */
export type Decode = (frame: Uint8Array, maxBytes: number) => Effect.Effect<Uint8Array, Failure>

/** @internal */
export const make = (timeout: Duration.DurationInput): Effect.Effect<Decode, never, Scope.Scope> =>
  Effect.map(
    Pool.makeWithTTL({
      acquire: Effect.acquireRelease(startWorker, (worker) => Effect.promise(() => worker.terminate())),
      min: 0,
      max: 2,
      timeToLive: Duration.minutes(1)
    }),
    (workers): Decode => (frame, maxBytes) =>
      Effect.suspend(() => {
        const failure = measure(frame, maxBytes)
        if (failure !== undefined) return Effect.fail(failure)
        return Effect.scoped(Effect.flatMap(workers.get, (worker) =>
          ask(worker, { frame, maxBytes }).pipe(
            Effect.timeoutFail({ duration: timeout, onTimeout: (): Failure => "Timeout" }),
            // It may still be at work, or gone.
            Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : workers.invalidate(worker))
          ))).pipe(Effect.filterOrFail((answer) => typeof answer !== "string", (answer) => answer as Failure))
      })
  )

/** RFC 9659: a window of the content coding `zstd` has at most 8 MiB. */
const maxWindow = 8 * 1024 * 1024
const maxBlock = 128 * 1024

/** Whether this is one whole frame that asks for no more memory than it may have. */
const measure = (frame: Uint8Array, maxBytes: number): Failure | undefined => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < 9 || view.getUint32(0, true) !== 0xfd2fb528) return "Malformed"
  const descriptor = frame[4]!
  // The reserved bit, and a dictionary: none was agreed on.
  if ((descriptor & 0b1011) !== 0) return "Malformed"
  const isSingleSegment = (descriptor & 0x20) !== 0
  const base = isSingleSegment ? 0 : 2 ** (10 + (frame[5]! >> 3))
  if (base + (base / 8) * (frame[5]! & 7) > maxWindow) return "TooLarge"

  let at = isSingleSegment ? 5 : 6
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!
  let contentSize = sizeBytes === 2 ? 256 : 0
  for (let i = 0; i < sizeBytes; i++) contentSize += frame[at + i]! * 2 ** (8 * i)
  if (contentSize > maxBytes) return "TooLarge"

  at += sizeBytes
  for (let isLast = false; !isLast;) {
    if (at + 3 > frame.length) return "Malformed"
    const header = frame[at]! | (frame[at + 1]! << 8) | (frame[at + 2]! << 16)
    const type = (header >> 1) & 3
    const size = header >> 3
    if (type === 3 || size > maxBlock) return "Malformed"
    at += 3 + (type === 1 ? 1 : size)
    isLast = (header & 1) === 1
  }
  at += (descriptor & 4) === 0 ? 0 : 4
  return at === frame.length ? undefined : "Malformed"
}

/** Node's modules are loaded when the first such body arrives: everything else here runs without them. */
const startWorker = Effect.promise(async () => {
  const [{ createRequire }, { Worker }] = await Promise.all([import("node:module"), import("node:worker_threads")])
  const worker = new Worker(workerSource, { eval: true, workerData: createRequire(import.meta.url).resolve("fzstd") })
  worker.unref()
  return worker
})

interface Question {
  readonly frame: Uint8Array
  readonly maxBytes: number
}

const ask = (worker: Worker, question: Question): Effect.Effect<Uint8Array | Failure, Failure> =>
  Effect.async((resume) => {
    const settle = (answer: Effect.Effect<Uint8Array | Failure, Failure>) => {
      stopListening()
      resume(answer)
    }
    const onMessage = (answer: Uint8Array | Failure) => settle(Effect.succeed(answer))
    const onLost = () => settle(Effect.fail("Malformed"))
    const stopListening = () => void worker.off("message", onMessage).off("error", onLost).off("exit", onLost)
    worker.on("message", onMessage).on("error", onLost).on("exit", onLost)
    worker.postMessage(question)
    return Effect.sync(stopListening)
  })

/** A text, because a worker of a file would be another one in `src` than in `dist`. */
const workerSource = `
const { parentPort, workerData } = require("node:worker_threads")
const { Decompress } = require(workerData)

parentPort.on("message", ({ frame, maxBytes }) => {
  const chunks = []
  let size = 0
  try {
    const decompress = new Decompress((chunk) => {
      size += chunk.length
      if (size > maxBytes) throw new Error("too large")
      chunks.push(chunk)
    })
    decompress.push(frame, true)
  } catch {
    parentPort.postMessage(size > maxBytes ? "TooLarge" : "Malformed")
    return
  }
  const content = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    content.set(chunk, at)
    at += chunk.length
  }
  parentPort.postMessage(content, [content.buffer])
})
`
