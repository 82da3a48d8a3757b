export declare const SCOPE: string

export interface Manifest {
  readonly name: string
  readonly version: string
  readonly exports: Readonly<Record<string, string | null | { readonly default: string }>>
  readonly homepage: string
  readonly bugs: string
  readonly repository: { readonly type: string; readonly url: string; readonly directory: string }
  readonly publishConfig: { readonly access: string; readonly provenance: boolean }
  readonly peerDependencies: Readonly<Record<string, string>>
}

export declare const manifests: () => Array<
  { readonly folder: string; readonly file: string; readonly manifest: Manifest }
>
