/** Errors of a client may hold the signed request anywhere: in what the caller gets, the caller's takes its place. */
import * as Headers from "@effect/platform/Headers"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"

/** What takes the place of what was signed. @internal */
export interface Callers {
  /** The caller's request, by the signed one or a copy of it; undefined where it was not signed here. */
  readonly request: (signed: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest | undefined
  readonly response: (
    request: HttpClientRequest.HttpClientRequest,
    response: HttpClientResponse.HttpClientResponse
  ) => HttpClientResponse.HttpClientResponse
  /** What no text may hold. */
  readonly secrets: ReadonlyArray<string>
}

/** How many properties lead from a value to what is replaced in it: `error.cause.cause.cause.request` has four. */
const maxLevels = 4

/** Of the objects of an error. More of them are rows of data, and take their time. */
const maxNodes = 10_000

/**
 * Replaces signed requests, their headers and responses, and texts that hold the credential. An error is changed in place;
 * everything else that it leads to may be others' too, so that is copied, with its prototype, where something in it is
 * replaced. Getters are not run.
 * @internal
 */
export const clean = <A>(value: A, callers: Callers): A => {
  const root = replace(value, callers)
  if (root !== value || typeof value !== "object" || value === null) return root as A

  const nodes = new Map<object, Node>()
  const nodeOf = (value: object, levels: number, isArgs: boolean): Node => {
    let node = nodes.get(value)
    if (node === undefined) {
      nodes.set(value, node = { value, levels, isArgs, slots: slotsOf(value), parents: [], holds: false })
    }
    return node
  }

  // Breadth first: each object is met on its shortest way.
  nodeOf(value, maxLevels, false)
  for (const node of nodes.values()) {
    for (const slot of node.slots) {
      const child = slot.value
      if (typeof child !== "object" && typeof child !== "string") continue
      slot.next = replace(child, callers)
      if (slot.next !== child) hold(node)
      else if (typeof child === "object" && child !== null && !ArrayBuffer.isView(child)) {
        const isArgs = slot.key === plainArgs
        if (node.levels === 0 && !isArgs) continue
        if (nodes.size === maxNodes && !nodes.has(child)) continue
        const next = nodeOf(child, isArgs ? node.levels : node.levels - 1, isArgs)
        next.parents.push(node)
        if (next.holds) hold(node)
      }
    }
  }

  const results = new Map<object, object>()
  const holding = Array.from(nodes.values()).filter(({ holds }) => holds)
  for (const node of holding) {
    results.set(node.value, isChangedInPlace(node, nodes) ? node.value : emptyCopy(node.value))
  }
  for (const node of holding) fill(results.get(node.value)!, node, results)
  return (results.get(value) ?? value) as A
}

/** An object, and what it leads to. */
interface Node {
  readonly value: object
  readonly levels: number
  /** Whether it is the arguments that an error was made of. */
  readonly isArgs: boolean
  readonly slots: ReadonlyArray<Slot>
  readonly parents: Array<Node>
  holds: boolean
}

interface Slot {
  readonly key: unknown
  readonly value: unknown
  /** Undefined for an entry of a collection. */
  readonly property: PropertyDescriptor | undefined
  next: unknown
}

const hold = (node: Node): void => {
  const stack = [node]
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (next.holds) continue
    next.holds = true
    stack.push(...next.parents)
  }
}

const slotsOf = (value: object): ReadonlyArray<Slot> => {
  try {
    if (value instanceof Map) {
      return Array.from(value, ([key, value]) => ({ key, value, next: value, property: undefined }))
    }
    if (value instanceof Set) {
      return Array.from(value, (value) => ({ key: value, value, next: value, property: undefined }))
    }
    const properties: Record<PropertyKey, PropertyDescriptor> = Object.getOwnPropertyDescriptors(value)
    return Reflect.ownKeys(properties).map((key) => {
      const property = properties[key]!
      return { key, value: property.value, next: property.value, property }
    })
  } catch {
    // A proxy that was revoked.
    return []
  }
}

/** A `Data.Error` keeps its properties once more, in a constant that belongs to it alone. */
const plainArgs = Symbol.for("effect/Data/Error/plainArgs")

const isChangedInPlace = ({ isArgs, slots, value }: Node, nodes: ReadonlyMap<object, Node>): boolean =>
  (value instanceof Error || isArgs) && slots.every(({ key, next, property, value }) => {
    const node = typeof value === "object" && value !== null ? nodes.get(value) : undefined
    return (next === value && node?.holds !== true) || property?.configurable === true || property?.writable === true ||
      (key === plainArgs && node !== undefined && isChangedInPlace(node, nodes))
  })

const emptyCopy = (value: object): object =>
  value instanceof Map
    ? new Map()
    : value instanceof Set
    ? new Set()
    : Array.isArray(value)
    ? []
    : Object.create(Object.getPrototypeOf(value))

const fill = (result: object, { slots, value }: Node, results: ReadonlyMap<object, object>): void => {
  for (const { key, next: replaced, property } of slots) {
    const next = typeof replaced === "object" && replaced !== null ? results.get(replaced) ?? replaced : replaced
    if (result instanceof Map) result.set(key, next)
    else if (result instanceof Set) result.add(next)
    else if (result !== value || (property !== undefined && "value" in property && next !== property.value)) {
      Object.defineProperty(result, key as PropertyKey, "value" in property! ? { ...property, value: next } : property!)
    }
  }
}

/** What takes the place of a value by itself. */
const replace = (value: unknown, callers: Callers): unknown => {
  if (typeof value === "string") {
    return callers.secrets.reduce((text, secret) => text.replaceAll(secret, "<redacted>"), value)
  }
  if (typeof value !== "object" || value === null) return value
  try {
    if (HttpClientRequest.TypeId in value) {
      return callers.request(value as HttpClientRequest.HttpClientRequest) ?? value
    }
    if (HttpClientResponse.TypeId in value && "request" in value) {
      const response = value as HttpClientResponse.HttpClientResponse
      const request = callers.request(response.request)
      return request === undefined ? value : callers.response(request, response)
    }
    if (Headers.isHeaders(value) || value instanceof globalThis.Headers) return withoutOurs(value, callers)
    if (value instanceof globalThis.Request && isOurs(value.headers.get("authorization"), callers)) {
      return { method: value.method, url: value.url, headers: withoutOurs(value.headers, callers) }
    }
  } catch {
    // A proxy that was revoked.
  }
  return value
}

const isOurs = (authorization: string | null | undefined, { secrets }: Callers): boolean =>
  secrets.some((secret) => authorization?.includes(secret) === true)

const withoutOurs = (headers: Headers.Headers | globalThis.Headers, callers: Callers): object => {
  if (headers instanceof globalThis.Headers) {
    if (!isOurs(headers.get("authorization"), callers)) return headers
    const copy = new globalThis.Headers(headers)
    for (const name of ours) copy.delete(name)
    return copy
  }
  return isOurs(headers.authorization, callers)
    ? ours.reduce((headers, name) => Headers.remove(headers, name), headers)
    : headers
}

const ours: ReadonlyArray<string> = ["authorization", "chatgpt-account-id", "x-openai-fedramp"]
