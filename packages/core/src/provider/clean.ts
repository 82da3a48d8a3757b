/** Errors of a client may hold the signed request anywhere: here the caller's takes its place. */
import * as Headers from "@effect/platform/Headers"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"

/** What takes the place of signed requests, of their headers, and of their responses. @internal */
export interface Callers {
  /** The caller's request, by the `authorization` of the signed one; undefined where that is not ours. */
  readonly request: (authorization: string) => HttpClientRequest.HttpClientRequest | undefined
  readonly response: (
    request: HttpClientRequest.HttpClientRequest,
    response: HttpClientResponse.HttpClientResponse
  ) => HttpClientResponse.HttpClientResponse
}

/** How many properties lead from a value to what is replaced in it: `error.cause.cause.cause.request` has four. */
const maxLevels = 4

/**
 * Replaces signed requests, their headers and their responses in a value by the caller's. Objects are changed in place,
 * and frozen ones copied, with their prototype. Getters are not run.
 * @internal
 */
export const clean = <A>(value: A, callers: Callers): A => {
  const seen = new Map<object, { readonly result: object; levels: number; isMet: boolean }>()

  const visit = (value: unknown, levels: number): unknown => {
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value
    let known = seen.get(value)
    if (known !== undefined && known.levels >= levels) {
      known.isMet = true
      return known.result
    }
    const replaced = replacement(value, callers)
    if (replaced !== undefined || levels === 0) return replaced ?? value

    const properties: Record<PropertyKey, PropertyDescriptor> = Object.getOwnPropertyDescriptors(value)
    const names = Reflect.ownKeys(properties)
    // A `Data.Error` has a constant of its own, which is changed in place like the error.
    const isFixed = names.some((name) =>
      isConstant(properties[name]!) && (name !== plainArgs || Object.isFrozen(properties[name]!.value))
    )
    // Known before its properties are visited, because they may lead back to it.
    known ??= { result: isFixed ? emptyCopy(value) : value, levels, isMet: false }
    known.levels = levels
    seen.set(value, known)
    let isChanged = false
    for (const name of names) {
      const property = properties[name]!
      if (!("value" in property)) continue
      const next = visit(property.value, name === plainArgs ? levels : levels - 1)
      if (next === property.value) continue
      isChanged = true
      property.value = next
      if (!isFixed) Object.defineProperty(value, name, property)
    }
    if (!isFixed) return value
    if (!isChanged && !known.isMet) {
      seen.set(value, { result: value, levels, isMet: false })
      return value
    }
    for (const name of names) {
      // It may be visited once more, from fewer levels away.
      const configurable = !(Array.isArray(value) && name === "length")
      Object.defineProperty(known.result, name, { ...properties[name]!, configurable })
    }
    return known.result
  }

  return visit(value, maxLevels) as A
}

const emptyCopy = (value: object): object => Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value))

const isConstant = ({ configurable, value, writable }: PropertyDescriptor): boolean =>
  configurable === false && writable === false && typeof value === "object"

/** Where `Data.Error` keeps the properties of an error once more. */
const plainArgs = Symbol.for("effect/Data/Error/plainArgs")

const replacement = (value: object, callers: Callers): object | undefined => {
  if (isRequest(value)) return callersRequest(value.headers, callers) ?? value
  if (Headers.isHeaders(value)) return callersRequest(value, callers)?.headers ?? value
  if (isResponse(value)) {
    const request = callersRequest(value.request.headers, callers)
    return request === undefined ? value : callers.response(request, value)
  }
  return undefined
}

const callersRequest = ({ authorization }: Headers.Headers, callers: Callers) =>
  authorization === undefined ? undefined : callers.request(authorization)

const isRequest = (value: object): value is HttpClientRequest.HttpClientRequest => HttpClientRequest.TypeId in value

const isResponse = (value: object): value is HttpClientResponse.HttpClientResponse =>
  HttpClientResponse.TypeId in value && "request" in value
