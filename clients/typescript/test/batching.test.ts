import assert from "node:assert/strict";
import { test } from "node:test";
import { Batcher, type Question } from "../src/batching.js";
import { ClientClosed, type Identity, Unavailable } from "../src/index.js";
import { sleep } from "./fake_server.js";
import { who } from "./fixtures.js";

/** A batcher whose calls end when they are told to, by a clock that stands still. */
function heldBatcher() {
  const sent: (readonly Question[])[] = [];
  const ends: (() => void)[] = [];
  const clock = { now: 0 };
  const batcher = new Batcher(
    (questions) =>
      new Promise((resolve) => {
        sent.push(questions);
        ends.push(() => resolve(questions.map(() => new Unavailable("ended by the test"))));
      }),
    () => clock.now,
  );
  const outcomes: Promise<string>[] = [];
  const ask = (user: string, token: Partial<Identity> = {}) => {
    const asked = batcher.ask({ ...who(user), ...token }, 60_000, {}, () => {});
    outcomes.push(asked.then(String, (error: Error) => error.message));
  };
  return { batcher, sent, ends, clock, outcomes, ask };
}

test("a batch leaves when the call before has returned, with at most 1,000 pairs; at most 10,000 wait", async () => {
  const { batcher, sent, ends, outcomes, ask } = heldBatcher();
  for (let index = 0; index < 10_101; index += 1) {
    ask(`user_${index}`);
  }
  assert.deepEqual(
    [1],
    sent.map((questions) => questions.length),
  );
  assert.equal(10_000, batcher.waiting);

  while (ends.length > 0) {
    ends.shift()?.();
    await sleep(0);
  }

  assert.deepEqual(
    [1, ...Array(10).fill(1_000)],
    sent.map((questions) => questions.length),
  );
  const refused = (await Promise.all(outcomes)).filter((text) => text.startsWith("10000 others wait"));
  assert.equal(100, refused.length);
});

test("a call that takes longer than 100 ms is passed by the next miss; at most 4 are on their way", async () => {
  const { batcher, sent, clock, ask } = heldBatcher();
  for (const user of ["a", "b", "c", "d", "e", "f"]) {
    ask(user);
    clock.now += 100;
  }

  assert.deepEqual(
    [["a"], ["b"], ["c"], ["d"]],
    sent.map((questions) => questions.map((one) => one.clerkUserId)),
  );
  assert.equal(2, batcher.waiting);
  batcher.close();
});

test("closing ends all that wait", async () => {
  const { batcher, outcomes, ask } = heldBatcher();
  ask("ada");
  ask("bob");

  batcher.close();

  assert.deepEqual(["the client was closed", "the client was closed"], await Promise.all(outcomes));
  await assert.rejects(
    batcher.ask(who("eve"), 1_000, {}, () => {}),
    ClientClosed,
  );
});

test("only the same session token shares a question: of two that say the same one may be forged", async () => {
  for (const tokenIssuedAt of [undefined, new Date(1_000)]) {
    const { batcher, sent, ends, ask } = heldBatcher();
    ask("first");
    const tokens = [undefined, "a.b.forged", "a.b.good"];
    for (const sessionToken of [...tokens, ...tokens]) {
      ask("ada", { tokenIssuedAt, sessionToken });
    }
    ends.shift()?.();
    await sleep(0);

    assert.deepEqual(
      tokens,
      sent[1]?.map((question) => question.sessionToken),
    );
    batcher.close();
  }
});
