/** What is wrong with a variable, before it is an error of `NodeTransport`. @internal */
export interface TransportFailure {
  readonly reason: "InvalidProxy" | "InvalidCertificate"
  readonly source: string
  readonly detail: string
}
