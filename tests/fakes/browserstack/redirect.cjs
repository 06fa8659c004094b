"use strict";
// Loaded by NODE_OPTIONS into AppWright by itself, whose provider for BrowserStack knows two hosts and no others: what it
// sends there goes to the stand-in at QGJOB_FAKE_BROWSERSTACK. It asks by node's https, and by fetch.

const http = require("node:http");
const https = require("node:https");
const { syncBuiltinESMExports } = require("node:module");

const HOSTS = new Set(["api-cloud.browserstack.com", "hub.browserstack.com"]);
const fake = new URL(process.env.QGJOB_FAKE_BROWSERSTACK);
const { request } = https;
const { fetch } = globalThis;

https.request = (asked, ...rest) => {
  const url = new URL(asked.href ?? asked);
  if (!HOSTS.has(url.hostname)) return request(asked, ...rest);
  const [options, answered] = typeof rest[0] === "function" ? [{}, rest[0]] : rest;
  return http.request(new URL(url.pathname + url.search, fake), { ...options, agent: undefined }, answered);
};
syncBuiltinESMExports(); // modules that import it by its name see it too

globalThis.fetch = (asked, options) => {
  const url = new URL(asked);
  return fetch(HOSTS.has(url.hostname) ? new URL(url.pathname + url.search, fake) : asked, options);
};
