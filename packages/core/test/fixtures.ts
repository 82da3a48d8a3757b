import { AgentKey } from "@agent-identity/core"
import { Either, Redacted } from "effect"
import { inspect } from "node:util"

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** An agent whose seed is 32 bytes of 07, computed by node:crypto and tweetnacl. */
export const vector = {
  seed: "07".repeat(32),
  publicKey: "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c",
  pkcs8V1: "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH",
  pkcs8V2:
    "MFECAQEwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHgSEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
  ssh: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs",
  timestamp: "2026-04-23T00:00:00Z",
  header:
    "AgentAssertion eyJhZ2VudF9ydW50aW1lX2lkIjoiYWdlbnQtMTIzIiwic2lnbmF0dXJlIjoiK0dsck9LUi9GSHh4aGttT2hnNWhqMTkrNU83aE0yTWd4TnJnVGZSZ0lYOENZbjEzQUpFU3Y1eVhrd3dVQzlqRGQ4Y3ZRUk11MWY4UHliZjYvTEJnRHc9PSIsInRhc2tfaWQiOiJ0YXNrLTEyMyIsInRpbWVzdGFtcCI6IjIwMjYtMDQtMjNUMDA6MDA6MDBaIn0",
  sealed: "V9tLNZ8jrl4Ubk4lEgVnBHIlBjSMFQwUdT0Mkz0E1CHl6kKN5okRS43ADd/oDRNtjxtopKhskJE="
}

export const vectorKey = Either.getOrThrow(AgentKey.fromPkcs8(Redacted.make(vector.pkcs8V1)))

/** All that a log may show of a value. */
export const shown = (value: unknown): string =>
  [String(value), JSON.stringify(value), inspect(value, { depth: Infinity, showHidden: true })].join("\n")
