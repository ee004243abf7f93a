// Builds and serves examples/nextjs in a temporary folder, against the fake SyncService of the tests, and says what it
// answers. Not part of the tests: it installs Next from npm. Clerk is a stub that takes the claims from a header.
//
// node scripts/try-nextjs.mjs [version of next, default "16"]
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const next = process.argv[2] ?? "16";
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = mkdtempSync(join(tmpdir(), "clerksync-nextjs-"));
const started = [];
const CLERK_STUB = `
import { headers } from "next/headers";
import { NextResponse } from "next/server";

function authOf(found) {
  const claims = JSON.parse(found.get("x-example-claims") ?? "null");
  return { tokenType: "session_token", userId: claims?.sub ?? null, orgId: claims?.o?.id, sessionClaims: claims };
}
export async function auth() {
  return authOf(await headers());
}
export function clerkMiddleware(handler) {
  return async (request, event) => (await handler(async () => authOf(request.headers), request, event)) ?? NextResponse.next();
}
`;
const STATS_ROUTE = `
import { syncClient } from "../../../lib/clerksync";
export const dynamic = "force-dynamic";
export const GET = () => Response.json(syncClient().stats());
`;
const CLERK_TYPES = `
import type { NextRequest } from "next/server";
export declare function auth(): Promise<object>;
export declare function clerkMiddleware(
  handler: (auth: () => Promise<object>, request: NextRequest) => Promise<Response>,
): (request: NextRequest) => Promise<Response>;
`;

function run(command, ...args) {
  execFileSync(command, args, { cwd: work, stdio: "inherit", env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" } });
}

/** Starts a process, in a group of its own, and waits for the first part of its output that fits. */
function start(fits, command, args, env = {}) {
  const child = spawn(command, args, {
    cwd: work,
    detached: true,
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1", ...env },
  });
  started.push(child);
  let output = "";
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      output += chunk;
      const found = fits.exec(output);
      if (found) {
        resolve(found[0]);
      }
    });
    child.on("exit", () => reject(new Error(`${command} ended: ${output}`)));
  });
}

function prepare() {
  cpSync(join(root, "examples/nextjs"), work, { recursive: true });
  const packed = execFileSync("npm", ["pack", "--silent", "--pack-destination", work], { cwd: root, encoding: "utf8" });
  const dependencies = { next, react: "19", "react-dom": "19", "@clerksync/client": `file:./${packed.trim()}` };
  const devDependencies = { typescript: "5", "@types/node": "20", "@types/react": "19" };
  writeFileSync(join(work, "package.json"), JSON.stringify({ private: true, dependencies, devDependencies }));
  if (next.startsWith("15")) {
    const text = readFileSync(join(work, "proxy.ts"), "utf8").replace("  matcher:", '  runtime: "nodejs",\n  matcher:');
    writeFileSync(join(work, "proxy.ts"), text);
    renameSync(join(work, "proxy.ts"), join(work, "middleware.ts"));
  }
  mkdirSync(join(work, "app/api/stats"));
  writeFileSync(join(work, "app/api/stats/route.ts"), STATS_ROUTE);
  run("npm", "install", "--no-audit", "--no-fund");
  const clerk = join(work, "node_modules/@clerk/nextjs");
  mkdirSync(clerk, { recursive: true });
  writeFileSync(
    join(clerk, "package.json"),
    JSON.stringify({ name: "@clerk/nextjs", type: "module", exports: { "./server": "./server.js" } }),
  );
  writeFileSync(join(clerk, "server.js"), CLERK_STUB);
  writeFileSync(join(clerk, "server.d.ts"), CLERK_TYPES);
}

async function tryIt(mode) {
  const target = await start(/127\.0\.0\.1:\d+/, process.execPath, [join(root, "dist/check/test/fake_process.js")]);
  const serve = [join(work, "node_modules/next/dist/bin/next"), mode, "--port", "0", "--hostname", "127.0.0.1"];
  const address = await start(/http:\/\/127\.0\.0\.1:\d+/, process.execPath, serve, { CLERKSYNC_TARGET: target });
  const ada = { sub: "user_ada", o: { id: "org_acme" }, iat: Math.floor(Date.now() / 1000) };
  const get = async (path, claims) => {
    const headers = claims ? { "x-example-claims": JSON.stringify(claims) } : {};
    const response = await fetch(`${address}${path}`, { headers });
    const text = await response.text();
    console.log(mode, path, claims?.sub, response.status, (/<p>.*?<\/p>/.exec(text) ?? [text.slice(0, 100)])[0]);
    return `${response.status} ${text}`;
  };
  await get("/", ada); // Compiles and connects, which may take longer than the budget.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const answers = [
    ["200 .*no profile", await get("/")],
    ["200 .*profile user_ada org_acme", await get("/", ada)],
    ['200 {"profileId":null}', await get("/api/me")],
    ['200 {"profileId":"user_ada org_acme"}', await get("/api/me", ada)],
    ["403 .*not a member", await get("/api/me", { ...ada, sub: "user_removed" })],
    ["403 .*not a member", await get("/", { ...ada, sub: "user_removed" })],
  ];
  const before = JSON.parse((await get("/api/stats")).slice(4));
  await get("/api/me", ada);
  const after = JSON.parse((await get("/api/stats")).slice(4));
  // The middleware and the route share one client: two hits, and no call.
  answers.push(["^2 0$", `${after.hits - before.hits} ${after.misses - before.misses}`]);
  started[0].kill("SIGSTOP"); // SyncService is frozen: pages are served all the same.
  answers.push(["200 .*profileId", await get("/api/me", { ...ada, sub: "user_bob" })]);
  for (const [expected, answer] of answers) {
    if (!new RegExp(expected, "s").test(answer)) {
      throw new Error(`expected ${expected}, got ${answer.slice(0, 300)}`);
    }
  }
}

/** Next has child processes of its own, which go with its group. */
async function stopAll() {
  for (const child of started.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, "SIGKILL");
      await once(child, "exit");
    }
  }
}

try {
  prepare();
  run(process.execPath, "node_modules/next/dist/bin/next", "build");
  for (const mode of ["start", "dev"]) {
    try {
      await tryIt(mode);
    } finally {
      await stopAll();
    }
  }
  console.log(`examples/nextjs works with next ${next}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
