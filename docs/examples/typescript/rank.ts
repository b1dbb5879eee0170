// Ranks candidates for a user: one by one, several in one call, and as a stream.
//
//     node dist/rank.js HOST:PORT USER ITEM,ITEM,...
//
// MARQUEE_TLS_CA names a PEM file of the authorities to trust (without it, plain text), MARQUEE_TOKEN_FILE a file with
// a token.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import type { RankManyResponse__Output } from "./generated/marquee/ranking/v1/RankManyResponse.js";
import type { RankRequest } from "./generated/marquee/ranking/v1/RankRequest.js";
import type { RankResponse__Output } from "./generated/marquee/ranking/v1/RankResponse.js";
import type { RankResult__Output } from "./generated/marquee/ranking/v1/RankResult.js";
import type { RankingServiceClient } from "./generated/marquee/ranking/v1/RankingService.js";
import type { ProtoGrpcType } from "./generated/ranking.js";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const definition = loadSync("ranking_service/proto/ranking.proto", {
  includeDirs: [root],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { marquee } = grpc.loadPackageDefinition(definition) as unknown as ProtoGrpcType;

// Retried are refusals that may pass, with backoff, as late as the server asks (grpc-retry-pushback-ms), and not while
// most calls fail.
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{ service: "marquee.ranking.v1.RankingService" }],
      retryPolicy: {
        maxAttempts: 3,
        initialBackoff: "0.02s",
        maxBackoff: "0.5s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
  retryThrottling: { maxTokens: 20, tokenRatio: 0.1 },
};

function connect(address: string): RankingServiceClient {
  const ca = process.env.MARQUEE_TLS_CA;
  const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
  return new marquee.ranking.v1.RankingService(address, credentials, {
    "grpc.service_config": JSON.stringify(serviceConfig),
  });
}

function metadata(): grpc.Metadata {
  const found = new grpc.Metadata();
  const file = process.env.MARQUEE_TOKEN_FILE;
  if (file) found.set("authorization", `Bearer ${readFileSync(file, "utf8").trim()}`);
  return found;
}

// A first call that waits for the connection has less time to be answered in.
function ready(client: RankingServiceClient): Promise<void> {
  return new Promise((done, failed) =>
    client.waitForReady(Date.now() + 5000, (error) => (error ? failed(error) : done())),
  );
}

const within = (milliseconds: number) => ({ deadline: Date.now() + milliseconds });

function rank(client: RankingServiceClient, request: RankRequest): Promise<RankResponse__Output> {
  return new Promise((done, failed) =>
    client.Rank(request, metadata(), within(1000), (error, answer) => (error ? failed(error) : done(answer!))),
  );
}

function rankMany(client: RankingServiceClient, requests: RankRequest[]): Promise<RankManyResponse__Output> {
  return new Promise((done, failed) =>
    client.RankMany({ requests }, metadata(), within(5000), (error, answer) => (error ? failed(error) : done(answer!))),
  );
}

async function* rankStream(client: RankingServiceClient, requests: RankRequest[]): AsyncGenerator<RankResult__Output> {
  const call = client.RankStream(metadata(), within(60_000));
  for (const request of requests) call.write(request); // at most 32 unanswered ones; a longer list is sent as answers come
  call.end();
  for await (const result of call) yield result as RankResult__Output;
}

function show(answer: RankResponse__Output): void {
  console.log(`bundle ${answer.bundleVersion}, level ${answer.level}, ${answer.micros?.total} microseconds`);
  if (answer.level > 0) console.log(`degraded: ${answer.reason}`);
  if (answer.explanationSkipped) console.log("not explained: the time did not suffice");
  for (const item of answer.items) {
    console.log(`${item.rank + 1}. ${item.itemId} ${item.score.toFixed(4)}`);
    for (const why of item.explanation?.top.slice(0, 3) ?? []) {
      console.log(`     ${why.contribution.toFixed(4)} ${why.description}: ${why.category || (why.value ?? "missing")}`);
    }
  }
}

async function main(address: string, userId: string, candidateIds: string[]): Promise<void> {
  const client = connect(address);
  try {
    await ready(client);
    show(await rank(client, { userId, candidateIds, limit: 3, explain: true, context: { surface: "home" } }));

    const requests = ["one", "two", "three"].map((requestId) => ({ requestId, userId, candidateIds, limit: 1 }));
    const { results } = await rankMany(client, [...requests, { requestId: "wrong", userId: "", candidateIds }]);
    for (const { requestId, response, error } of results) {
      console.log(`many ${requestId}: ${response?.items[0]?.itemId ?? error?.message}`);
    }
    for await (const { requestId, response, error } of rankStream(client, requests)) {
      console.log(`stream ${requestId}: ${response?.items[0]?.itemId ?? error?.message}`);
    }

    await rank(client, { userId, candidateIds: [...candidateIds, candidateIds[0]!] });
  } catch (error) {
    // INVALID_ARGUMENT names the field; UNAVAILABLE and RESOURCE_EXHAUSTED were retried before they came here.
    const { code, details, message } = error as grpc.ServiceError;
    console.log(`${grpc.status[code] ?? "error"} ${details ?? message}`);
  } finally {
    client.close();
  }
}

const [address = "127.0.0.1:50051", user = "ann", items = "a,b"] = process.argv.slice(2);
await main(address, user, items.split(","));
