// Writes the TypeScript of ../../protos into src/gen; with --check it only says whether that is what is committed.
// Needs no network: buf and Google's protos are those that `make setup` puts into .venv, the plugin is npm's.
// buf wants all protos under one folder and would fetch Google's from its registry, so both are copied together first.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const committed = join(root, "src/gen");
const bin = join(root, "../../.venv/bin");
const google = ["api/field_behavior.proto", "rpc/status.proto", "rpc/error_details.proto"];
const services = ["clerksync/v1/sync_service.proto", "google/rpc/error_details.proto"];

const work = mkdtempSync(join(tmpdir(), "clerksync-generate-"));
try {
  cpSync(join(root, "../../protos/clerksync"), join(work, "clerksync"), { recursive: true });
  const where = "import pathlib, google.api; print(pathlib.Path(google.api.__path__[0]).parent)";
  const common = spawnSync(join(bin, "python"), ["-c", where], { encoding: "utf8" });
  if (common.status !== 0) {
    throw new Error("there is no .venv beside clients/: run 'make setup' first");
  }
  for (const path of google) {
    cpSync(join(common.stdout.trim(), path), join(work, "google", path), { recursive: true });
  }
  writeFileSync(join(work, "buf.yaml"), "version: v2\n");
  const template = {
    version: "v2",
    plugins: [
      {
        local: join(root, "node_modules/.bin/protoc-gen-es"),
        out: "gen",
        opt: ["target=ts", "import_extension=js"],
        include_imports: true,
      },
    ],
  };
  const paths = services.flatMap((path) => ["--path", path]);
  const ran = spawnSync(join(bin, "buf"), ["generate", "--template", JSON.stringify(template), ...paths], {
    cwd: work,
    env: { ...process.env, BUF_CACHE_DIR: join(work, ".cache") },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (ran.status !== 0) {
    throw new Error(`buf generate failed${ran.error ? `: ${ran.error.message}` : ""}`);
  }
  const generated = join(work, "gen");
  if (process.argv.includes("--check")) {
    check(generated);
  } else {
    rmSync(committed, { recursive: true, force: true });
    cpSync(generated, committed, { recursive: true });
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Every file below a folder, as path → text. */
function files(folder) {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    found.map((entry) => {
      const path = join(entry.parentPath ?? entry.path, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path, "utf8")];
    }),
  );
}

function check(generated) {
  const [fresh, kept] = [files(generated), files(committed)];
  const stale = [...new Set([...fresh.keys(), ...kept.keys()])].filter((path) => fresh.get(path) !== kept.get(path));
  if (stale.length > 0) {
    console.error(`Stale: ${stale.join(", ")}. Run 'npm run generate' and commit the result.`);
    process.exitCode = 1;
  }
}
