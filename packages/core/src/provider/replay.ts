import type * as HttpBody from "@effect/platform/HttpBody"

/** Whether a body can be sent once more: it is a value, and not something that is used up by reading it. @internal */
export const isReplayable = (body: HttpBody.HttpBody): boolean => {
  switch (body._tag) {
    case "Empty":
    case "Uint8Array":
    case "FormData":
      return true
    case "Stream":
      return false
    case "Raw":
      return body.body === undefined || body.body === null || typeof body.body === "string" ||
        ArrayBuffer.isView(body.body) ||
        [ArrayBuffer, Blob, FormData, URLSearchParams].some((value) => body.body instanceof value)
  }
}
