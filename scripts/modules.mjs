/** The public modules of a package: files of its `src` whose names begin with a capital, and its index. */
import { readdirSync } from "node:fs"
import { basename } from "node:path"

/** As paths below `src` without their extension, ordered by their names. */
export const publicModules = (name) =>
  readdirSync(`packages/${name}/src`, { recursive: true })
    .filter((file) => /(?:^|\/)(?:[A-Z]\w*|index)\.ts$/.test(file) && !file.startsWith("internal/"))
    .map((file) => file.slice(0, -3))
    .sort((left, right) => basename(left) < basename(right) ? -1 : 1)
