/** What a hosts file says: `localhost`, and `*.test` on loopback. No other name is known, and no resolver is asked. */
import dns from "node:dns"
import { syncBuiltinESMExports } from "node:module"
import { isIP } from "node:net"

const { lookup } = dns

dns.lookup = (name, options, callback = options) => {
  if (isIP(name) !== 0 || name === "localhost") return lookup(name, options, callback)
  const known = name.endsWith(".test")
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND", hostname: name })
  const address = { address: "127.0.0.1", family: 4 }
  process.nextTick(() =>
    !known ? callback(error) : options.all === true ? callback(null, [address]) : callback(null, "127.0.0.1", 4)
  )
}
syncBuiltinESMExports()
