/** What an answer that is no good says of itself, for an error: who gave it, how long to wait, and what support asks for. */
import * as Text from "../protocol/text.ts"
import * as Excerpt from "./excerpt.ts"
import type * as Http from "./http.ts"

type Headers = Http.Answer["headers"]

/** Of whom and how it was asked. @internal */
export interface Asked {
  /** What an excerpt of the answer must not show. */
  readonly secrets: ReadonlyArray<string>
  /** What to do about a refusal of the service's own. */
  readonly advice: string
}

/**
 * - `from`: who answered in the place of the service, and the ids that its operators find the answer by
 * - `advice`: what to do, which is another thing where the service was not reached
 * - `isReadable`: whether it may be the service's, in an encoding that was asked for
 * - `body`: its start
 * @internal
 */
export const explain = (answer: Http.Answer, { advice, secrets }: Asked) => {
  const server = edge(answer)
  const encoding = unreadEncoding(answer)
  const whose = server === undefined ? "" : `, a page by ${server} instead of the service`
  const how = encoding === undefined ? "" : `, in the encoding ${encoding}, which cannot be read here`
  return {
    from: `${whose}${how}${ids(answer.headers)}`,
    advice: server === undefined ? advice : edgeAdvice,
    isReadable: server === undefined && encoding === undefined,
    ...(encoding === undefined ? { body: Excerpt.make(answer.body, secrets) } : undefined)
  }
}

const edgeAdvice = "see whether this machine may reach it: its network, its proxy, its country"

/**
 * Who answered with a page: a firewall, a challenge, a proxy that found nothing behind it. Undefined where it may have been
 * the service.
 */
const edge = ({ body, headers }: Http.Answer): string | undefined => {
  const isPage = /^\s*text\/html\b/i.test(headers["content-type"] ?? "") ||
    /^\uFEFF?\s*<(?:!doctype|html)\b/i.test(new TextDecoder().decode(body.subarray(0, 128)))
  if (headers["cf-mitigated"] === undefined && (!isPage || Text.readJson(body) !== undefined)) return undefined
  return shown(headers.server)?.replace(/\/.*/, "") ?? "something in between"
}

const ids = (headers: Headers): string => {
  const found = ["cf-ray", "x-request-id"].flatMap((name) => {
    const id = shown(headers[name])
    return id === undefined ? [] : [`${name} ${id}`]
  })
  return found.length === 0 ? "" : ` (${found.join(", ")})`
}

/** The encoding of a body that is still encoded, or that was damaged: success is JSON. */
const unreadEncoding = ({ body, headers, status }: Http.Answer): string | undefined => {
  const encoding = shown(headers["content-encoding"])?.toLowerCase()
  const isRead = Text.fromUtf8(body) !== undefined && (status > 299 || Text.readJson(body) !== undefined)
  return encoding === undefined || encoding === "identity" || body.length === 0 || isRead ? undefined : encoding
}

const shown = (value: string | undefined): string | undefined =>
  value !== undefined && /^[\x20-\x7e]{1,128}$/.test(value.trim()) ? value.trim() : undefined

/**
 * How long the server asked to wait, in milliseconds from `now`: by `retry-after-ms`, or by a `Retry-After` of seconds,
 * with a fraction or without, of a date, or of a list of such, of which the longest counts. A second where it cannot be
 * read, so that it makes nobody faster. Undefined where nothing was asked.
 * @internal
 */
export const retryAfter = (headers: Headers, now: number): number | undefined => {
  const { "retry-after": value, "retry-after-ms": millis } = headers
  if (value === undefined && millis === undefined) return undefined
  const waits = [
    ...(millis === undefined ? [] : [number(millis)]),
    ...(value === undefined ? [] : isDate(value) ? [date(value, now)] : value.split(",").map((_) => seconds(_)))
  ].filter((wait) => wait !== undefined)
  return waits.length === 0 ? 1000 : Math.min(Math.max(...waits), Number.MAX_SAFE_INTEGER)
}

const number = (text: string): number | undefined =>
  /^ *\d+(?:\.\d+)? *$/.test(text) ? Math.ceil(Number(text)) : undefined

const seconds = (text: string): number | undefined =>
  /^ *\d+(?:\.\d+)? *$/.test(text) ? Math.ceil(Number(text) * 1000) : undefined

/** Every form of an HTTP date begins with the name of the day; `Date.parse` makes a date of `-5` and `1.5` too. */
const isDate = (text: string): boolean => /^ *(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)

/** The form of `asctime` names no time zone: all of them are GMT. */
const date = (text: string, now: number): number | undefined => {
  const at = Date.parse(/GMT *$/.test(text) ? text : `${text} GMT`)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}
