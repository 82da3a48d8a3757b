/** How a text stands in a column. */

/**
 * JSON in ASCII. PostgreSQL's text cannot hold NUL, and a database need not be in UTF-8: in this form every text
 * survives, the common ones can be read by people, and an equal text is an equal column.
 * The longest agent runtime id takes 1538 bytes of the 2704 that PostgreSQL can index.
 *
 * @internal
 */
export const escape = (json: string): string =>
  json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** @internal */
export const encode = (text: string): string => escape(JSON.stringify(text))
