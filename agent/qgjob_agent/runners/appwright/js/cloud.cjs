"use strict";
// Sessions of a device in a cloud: the agent begins each of them, when the plan that others use too has room for it, and
// the test joins in. So the account's key never comes here. The agent has uploaded the build, and sees to names, status
// and videos, so AppWright's own provider of such devices does none of that.

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const POLL_MS = 50;
const NEEDED = ["globalSetup", "getAppBundleIdFromSession", "syncTestDetails", "downloadVideo"];

/** What the agent answers, read once. */
async function answerOf(file) {
  for (;;) {
    try {
      const told = JSON.parse(fs.readFileSync(file, "utf8"));
      fs.unlinkSync(file);
      return told;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

/** A newSession that has the agent begin the session. */
function inCloud(run, driver) {
  return async ({ user, key, ...options }, ...rest) => {
    const number = crypto.randomInt(2 ** 47);
    const attempt = run.current?.index ?? null;
    run.tell({ event: "asks", attempt, number, capabilities: options.capabilities });
    const told = await answerOf(path.join(run.plan.cloud.sessions, `${number}.json`));
    if (told.refused) {
      run.tell({ event: "no_session", attempt, text: told.refused });
      throw new Error(told.refused);
    }
    run.tell({ event: "session", attempt, number, session_id: told.session_id, installs: false });
    const client = driver.attachToSession(
      {
        connectionRetryCount: 3,
        connectionRetryTimeout: 120_000,
        ...options,
        ...told.options,
        logLevel: "warn",
        capabilities: told.capabilities,
        sessionId: told.session_id,
      },
      ...rest,
    );
    client.on("result", ({ command }) => {
      if (command === "deleteSession") run.tell({ event: "session_over", attempt, number });
    });
    return client;
  };
}

/** AppWright's provider for BrowserStack, without what the agent does. */
function adopt(Provider, planFile) {
  const plan = JSON.parse(fs.readFileSync(planFile, "utf8"));
  if (!plan.cloud) return;
  const lacks = NEEDED.filter((name) => typeof Provider?.prototype[name] !== "function");
  if (lacks.length) throw new Error(`AppWright's provider for BrowserStack has no ${lacks.join(", ")}; pin AppWright 0.1.1`);
  Object.assign(Provider.prototype, {
    async globalSetup() {
      process.env[`BROWSERSTACK_APP_URL_${this.project.name.toUpperCase()}`] = plan.cloud.app_url; // workers inherit it
    },
    async getAppBundleIdFromSession() {
      return plan.app_package ?? "";
    },
    async syncTestDetails() {},
    async downloadVideo() {
      return null;
    },
  });
}

module.exports = { adopt, inCloud };
