#!/usr/bin/env node
// Compares zerg's HTTP/1 parser with node's (llhttp, strict): both get the same damaged streams, and each difference
// in what they take for a message, or for its content, must be one of those in http_differences.json.
//
//     http_differential.js [--tool build/tools/http_verdict] [--cases 20000] [--seconds 20] [--seed 1] [--show]
//
// Ends after so many cases or seconds, whichever comes first; --show prints how often each explained difference came.
// Exits with 1 when a difference has no explanation, printing the stream and both verdicts.
"use strict";

const { spawnSync } = require("child_process");
const fs = require("fs");
const path = require("path");

process.noDeprecation = true; // process.binding() is the only way to the bare parser
const { HTTPParser, methods } = process.binding("http_parser");

const ROOT = path.resolve(__dirname, "../..");
const BATCH = 1000;
const UNEXPLAINED_MAX = 20;
// enum http_method
const METHODS = ["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const REQUEST = "Q".charCodeAt(0);
const RESPONSE = "S".charCodeAt(0);

// ---- node's verdict ----

function newMessage() {
  return { fields: [], body: "", trailers: [], whole: false };
}

function startMessage(message, args) {
  const [, minor, headers, method, url, status, reason, isUpgrade, keepsAlive] = args;
  if (headers) message.fields.push(...headers);
  message.minor = minor;
  message.keeps_alive = keepsAlive;
  if (method !== undefined) {
    message.method = methods[method];
    message.target = url !== undefined ? url : message.flushedUrl;
  } else {
    message.status = status;
    message.reason = reason;
  }
  message.isUpgrade = isUpgrade;
  delete message.flushedUrl;
}

// What node's own client and server answer here: 2 is a tunnel, 1 a message without a body.
function skip(kind, method, message) {
  if (kind === REQUEST) return message.method === "CONNECT" ? 2 : 0;
  const { status } = message;
  if (method === "CONNECT" && status >= 200 && status < 300) return 2;
  if (status === 101) return 2;
  return method === "HEAD" || status < 200 || status === 304 ? 1 : 0;
}

function nodeVerdict(kind, method, data) {
  const messages = [];
  const parser = new HTTPParser();
  let begun = null;
  let accepted = null;
  const type = kind === REQUEST ? HTTPParser.REQUEST : HTTPParser.RESPONSE;
  parser.initialize(type, {}, 16 * 1024, HTTPParser.kLenientNone);
  parser[HTTPParser.kOnMessageBegin] = () => {
    begun = newMessage();
    accepted = null;
  };
  parser[HTTPParser.kOnHeaders] = (headers, url) => {
    (accepted ? accepted.trailers : begun.fields).push(...headers);
    if (!accepted) begun.flushedUrl = (begun.flushedUrl || "") + url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (...args) => {
    startMessage(begun, args);
    accepted = begun;
    messages.push(accepted);
    return skip(kind, method, accepted);
  };
  parser[HTTPParser.kOnBody] = (chunk) => {
    accepted.body += chunk.latin1Slice();
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    accepted.whole = true;
    begun = null;
  };
  const result = parser.execute(data);
  const problem = result instanceof Error ? `${result.code}: ${result.reason}` : "";
  parser.close();
  return { messages, problem };
}

// ---- zerg's verdicts ----

function zergVerdicts(tool, cases) {
  const parts = [];
  for (const { kind, method, data } of cases) {
    const header = Buffer.alloc(6);
    header[0] = kind;
    header[1] = METHODS.indexOf(method);
    header.writeUInt32LE(data.length, 2);
    parts.push(header, data);
  }
  const done = spawnSync(tool, [], { input: Buffer.concat(parts), maxBuffer: 1 << 28 });
  const lines = String(done.stdout || "").split("\n").slice(0, -1);
  if (done.status !== 0 || lines.length !== cases.length) {
    const end = done.error || done.signal || done.status;
    throw new Error(`${tool}: ${end} after ${lines.length} of ${cases.length} streams\n${done.stderr}`);
  }
  return lines.map((line) => JSON.parse(line));
}

// ---- comparing ----

const KEYS = ["method", "target", "status", "reason", "minor", "fields", "keeps_alive"];

// What is special about a message, to tell apart why two answers about its connection may differ.
function special(mine, method) {
  if (mine.status === 101 || (method === "CONNECT" && mine.status < 300)) return "a tunnel";
  if (method === "HEAD") return "an answer to HEAD";
  if (mine.status === 204) return "204";
  return mine.minor === 0 ? "1.0" : "1.1";
}

function firstDifference(mine, theirs, method) {
  const key = KEYS.find((name) => JSON.stringify(mine[name]) !== JSON.stringify(theirs[name]));
  return key === "keeps_alive" ? `keeps_alive of ${special(mine, method)}` : key;
}

// What was given of a body before somebody refused it may be shorter.
function sameBody(mine, theirs) {
  if (mine.whole && theirs.whole) {
    return mine.body === theirs.body && JSON.stringify(mine.trailers) === JSON.stringify(theirs.trailers);
  }
  return mine.body.startsWith(theirs.body) || theirs.body.startsWith(mine.body);
}

// Where node stops without a word: behind a tunnel, or before a message that begins like this.
function whereNodeStops(zerg, node) {
  const last = node.messages[node.messages.length - 1];
  if (last && last.isUpgrade) return "tunnel";
  const next = zerg.messages[node.messages.length] || {};
  return next.method || next.status;
}

function progress(verdict) {
  const last = verdict.messages[verdict.messages.length - 1];
  return 2 * verdict.messages.length - (last && !last.whole ? 1 : 0);
}

// The name of the difference, or null. Both may stop at different bytes of what neither accepts.
function difference(zerg, node, method) {
  const both = Math.min(zerg.messages.length, node.messages.length);
  for (let i = 0; i < both; i++) {
    const key = firstDifference(zerg.messages[i], node.messages[i], method);
    if (key) return `differ in ${key}`;
    if (!sameBody(zerg.messages[i], node.messages[i])) return "differ in body";
  }
  if (progress(node) > progress(zerg)) {
    return zerg.problem ? `zerg refuses: ${zerg.problem}` : `zerg stops: ${zerg.end}`;
  }
  if (node.problem && (progress(zerg) > progress(node) || zerg.end === "body")) return `node refuses: ${node.problem}`;
  return progress(zerg) > progress(node) ? `node stops: ${whereNodeStops(zerg, node)}` : null;
}

// ---- making cases ----

function generator(seed) {
  let state = seed >>> 0;
  return (below) => { // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const WORDS = [
  "\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", "\0", "\v", ":", ";", ",", "\"", "\\", "%", "#", "\x7f", "\x80", "\xff",
  "0", "1", "5", "00", "0x", "+", "-", "_", "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 6\r\n",
  "content-length:5\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n",
  "Transfer-Encoding: gzip, chunked\r\n", "transfer-encoding:chunked\r\n", "Transfer-Encoding: chunked, chunked\r\n",
  "Transfer-Encoding : chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "Connection: close\r\n",
  "Connection: keep-alive\r\n", "Connection: upgrade\r\nUpgrade: x\r\n", "Host: a.example\r\n", "Host: b\r\n",
  "Expect: 100-continue\r\n", "X: y\r\n", " folded\r\n", "X : y\r\n", ": y\r\n", "X\r\n", "chunked", "close",
  "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "GET ", "POST ", "HEAD ", "CONNECT ", "OPTIONS ",
  "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "0\r\n\r\n", "1\r\na\r\n", "5\r\nhello\r\n", ";a=b", ";a=\"b\"",
  "fffffffffffffffff", "7fffffffffffffff", "http://a.example/", "http://b/", "*", "a.example:443",
  "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 204 X\r\n", "HTTP/1.1 304 X\r\n", "HTTP/1.1 100 X\r\n\r\n",
  "HTTP/1.1 101 X\r\n", "200", "204", "304", "101",
].map((word) => Buffer.from(word, "latin1"));

function seeds(folder) {
  const directory = path.join(ROOT, "tests/fuzz/seeds", folder);
  return fs.readdirSync(directory).sort().map((name) => fs.readFileSync(path.join(directory, name)));
}

function corpus() {
  const chunked = Buffer.from("POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
  const answer = Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const bodies = seeds("http_chunked");
  return {
    requests: [...seeds("http_request"), ...bodies.map((body) => Buffer.concat([chunked, body]))],
    responses: [
      ...seeds("http_response").map((seed) => seed.subarray(1)), // the first byte is for the fuzzer
      ...bodies.map((body) => Buffer.concat([answer, body])),
    ],
  };
}

function cutLine(data, random) {
  const starts = [0];
  for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, at + 1)) starts.push(at + 1);
  const i = random(starts.length);
  return [starts[i], i + 1 < starts.length ? starts[i + 1] : data.length];
}

function splice(data, from, to, insert) {
  return Buffer.concat([data.subarray(0, from), insert, data.subarray(to)]);
}

function mutate(data, all, random) {
  const at = random(data.length + 1);
  const [from, to] = cutLine(data, random);
  switch (random(9)) {
    case 0: return splice(data, at, Math.min(at + 1, data.length), Buffer.from([random(256)]));
    case 1: return splice(data, at, Math.min(at + 1 + random(4), data.length), Buffer.alloc(0));
    case 2: return splice(data, at, at, WORDS[random(WORDS.length)]);
    case 3: return splice(data, from, from, WORDS[random(WORDS.length)]);
    case 4: return splice(data, to, to, data.subarray(from, to));
    case 5: return splice(data, from, to, Buffer.alloc(0));
    case 6: return Buffer.concat([data, all[random(all.length)]]);
    case 7: return splice(data, at, Math.min(at + 1 + random(6), data.length), WORDS[random(WORDS.length)]);
    default: return Buffer.concat([data.subarray(0, at), all[random(all.length)].subarray(random(8))]);
  }
}

function makeCase(seedsOf, random) {
  const isRequest = random(3) > 0;
  const all = isRequest ? seedsOf.requests : seedsOf.responses;
  let data = all[random(all.length)];
  for (let left = random(5); left > 0; left--) data = mutate(data, all, random);
  return {
    kind: isRequest ? REQUEST : RESPONSE,
    method: isRequest ? "" : METHODS[[1, 1, 1, 2, 3, 6][random(6)]],
    data: data.subarray(0, 8000),
  };
}

// ---- the run ----

function options(argv) {
  const given = { tool: path.join(ROOT, "build/tools/http_verdict"), cases: 20000, seconds: 20, seed: 1, show: false };
  for (let i = 0; i < argv.length; i++) {
    const name = argv[i].replace(/^--/, "");
    if (!(name in given)) throw new Error(`unknown option ${argv[i]}`);
    if (name === "show") given.show = true;
    else given[name] = name === "tool" ? argv[++i] : Number(argv[++i]);
  }
  return given;
}

function report({ kind, method, data }, zerg, node, name) {
  const what = kind === REQUEST ? "request" : `response to ${method}`;
  console.log(`\n${name}\n  ${what}: ${JSON.stringify(data.latin1Slice())}`);
  console.log(`  zerg: ${JSON.stringify(zerg)}\n  node: ${JSON.stringify(node)}`);
}

function showCounts(counts) {
  const rows = [...counts].sort((a, b) => b[1] - a[1]);
  for (const [name, count] of rows) console.log(`${String(count).padStart(7)} ${name}`);
}

function main() {
  const { tool, cases, seconds, seed, show } = options(process.argv.slice(2));
  const explained = JSON.parse(fs.readFileSync(path.join(__dirname, "http_differences.json"), "utf8"));
  const random = generator(seed);
  const seedsOf = corpus();
  const counts = new Map();
  const end = Date.now() + seconds * 1000;
  let done = 0;
  let unexplained = 0;

  while (done < cases && Date.now() < end && unexplained < UNEXPLAINED_MAX) {
    const batch = Array.from({ length: Math.min(BATCH, cases - done) }, () => makeCase(seedsOf, random));
    zergVerdicts(tool, batch).forEach((zerg, i) => {
      const { kind, method, data } = batch[i];
      const node = nodeVerdict(kind, method, data);
      const name = difference(zerg, node, method);
      if (!name) return;
      counts.set(name, (counts.get(name) || 0) + 1);
      if (name in explained) return;
      if (counts.get(name) <= 2) report(batch[i], zerg, node, name);
      unexplained++;
    });
    done += batch.length;
  }
  if (show) showCounts(counts);
  const { node, llhttp } = process.versions;
  console.log(`${done} streams, node ${node} (llhttp ${llhttp}), ${unexplained} unexplained differences`);
  return unexplained ? 1 : 0;
}

process.exitCode = main();
