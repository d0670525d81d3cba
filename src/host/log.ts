/** Events for operators: a stable name and public fields. No secret, no message text. */
export interface Log {
  event(name: string, fields?: { readonly [field: string]: string | number | boolean }): void
}
