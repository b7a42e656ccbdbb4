// The licences of what is bundled: THIRD-PARTY.txt in the page's folder, named in its index and in each script.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

export const NOTICES = "THIRD-PARTY.txt";
const HERE = dirname(fileURLToPath(import.meta.url));
const BANNER = `/*! The review page of smiler, Apache-2.0. It contains other works, whose licences are in ${NOTICES}. */\n`;
const RULE = `\n\n${"=".repeat(80)}\n\n`;
/** Where the licence of a build tool ends and those of what the tool itself is made of, none of it bundled, begin. */
const OF_THE_TOOL = "# Licenses of bundled dependencies";

interface Package {
  folder: string;
  name: string;
  version: string;
  license: string;
}

/** The package that a module belongs to; none for our own. */
export function packageOf(id: string): Package | undefined {
  const path = id.startsWith("\0vite/") ? join(HERE, "node_modules/vite/index.js") : id.replace(/^\0/, "");
  const [folder] = path.match(/^.*\/node_modules\/(@[^/]+\/)?[^/]+/) ?? [];
  if (!folder) return undefined;
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return { folder, name, version, license };
}

/** The text of a package's licence: its own file, or ours where it ships none. */
export function licenceOf({ folder, name }: Package): string {
  const own = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  const file = own ? join(folder, own) : join(HERE, "licences", `${name.replace("/", "-")}.txt`);
  if (!existsSync(file)) throw new Error(`${name} ships no licence: put its text into ${file}`);
  return readFileSync(file, "utf8").split(OF_THE_TOOL)[0].trim();
}

/** Comments of a script that are notices of yet other works, copied into it. */
export function inlined(code: string): string[] {
  return (code.match(/\/\*[\s\S]*?\*\//g) ?? []).filter((comment) => /copyright|@licen[cs]e/i.test(comment));
}

/** Writes the notices of the packages of which anything is in the bundle. */
export function notices(): Plugin {
  return {
    name: "notices",
    transformIndexHtml: {
      order: "post",
      handler: () => [{ tag: "link", attrs: { rel: "license", href: `./${NOTICES}` }, injectTo: "head" }],
    },
    generateBundle(_options, bundle) {
      const found = new Map<string, { about: Package; comments: Set<string> }>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        chunk.code = BANNER + chunk.code;
        for (const [id, { renderedLength }] of Object.entries(chunk.modules)) {
          const about = renderedLength ? packageOf(id) : undefined;
          if (!about) continue;
          const { comments } = found.get(about.name) ?? { comments: new Set<string>() };
          for (const comment of inlined(this.getModuleInfo(id)?.code ?? "")) comments.add(comment);
          found.set(about.name, { about, comments });
        }
      }
      const each = [...found.values()].sort((a, b) => a.about.name.localeCompare(b.about.name));
      const texts = each.map(({ about, comments }) =>
        [`${about.name} ${about.version} (${about.license})`, licenceOf(about), ...comments].join("\n\n"),
      );
      const head = "The review page of smiler contains these works, or parts of them.";
      this.emitFile({ type: "asset", fileName: NOTICES, source: [head, ...texts].join(RULE) + "\n" });
    },
  };
}
