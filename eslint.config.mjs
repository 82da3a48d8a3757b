import effect from "@effect/eslint-plugin"
import tseslint from "typescript-eslint"

export default [
  { ignores: ["**/dist", "**/build", "**/node_modules", "**/coverage"] },
  ...tseslint.configs.strict.map((config) => ({ ...config, files: ["**/*.ts"] })),
  {
    files: ["**/*.ts", "**/*.mjs"],
    plugins: { "@effect": effect },
    rules: {
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          operatorPosition: "maintain",
          quoteStyle: "alwaysDouble",
          semiColons: "asi",
          trailingCommas: "never",
          "arrowFunction.useParentheses": "force"
        }
      }]
    }
  },
  {
    files: ["**/*.ts"],
    rules: {
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-invalid-void-type": "off",
      // A tag is a class without members.
      "@typescript-eslint/no-extraneous-class": "off",
      "sort-imports": ["error", { ignoreCase: true, ignoreDeclarationSort: true }]
    }
  },
  {
    files: ["packages/*/src/**/*.ts"],
    rules: {
      "no-console": "error",
      "no-restricted-globals": ["error", { name: "process", message: "Read configuration with Config." }],
      "@effect/no-import-from-barrel-package": ["error", {
        packageNames: [
          "effect",
          "@effect/platform",
          "@effect/platform-node",
          "@effect/experimental",
          "@effect/sql",
          "@agent-identity/core",
          "@agent-identity/server",
          "@agent-identity/sql"
        ]
      }]
    }
  },
  {
    // A program reads its arguments and sets its exit code.
    files: ["packages/authapi/src/main.ts"],
    rules: { "no-restricted-globals": "off" }
  }
]
