"use strict";
// Loaded into every node process of a run (NODE_OPTIONS --require). Where Playwright's worker begins a test file it asks
// the agent's plan whether the file may still begin, and before the first of them AppWright's sessions are turned to
// the agent's Appium and to an app that is installed already; those of a device in a cloud to cloud.cjs. In all other
// processes it does nothing.

const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const PLAN = process.env.QGJOB_APPWRIGHT_PLAN;
const WORKER = /[\\/]playwright[\\/]lib[\\/]worker[\\/]workerMain\.js$/;
const BROWSERSTACK = /[\\/]appwright[\\/]dist[\\/]providers[\\/]browserstack[\\/]index\.js$/;
const DISPATCHER = /[\\/]playwright[\\/]lib[\\/]runner[\\/]dispatcher\.js$/;

function realPath(file) {
  try {
    return fs.realpathSync(file);
  } catch {
    return path.resolve(file);
  }
}

class Run {
  constructor(planFile) {
    this.planFile = planFile;
    this.look();
    this.current = null;
    this.sessions = 0;
    this.patched = null;
  }

  look() {
    this.plan = JSON.parse(fs.readFileSync(this.planFile, "utf8"));
    this.attempts = new Map(this.plan.attempts.map((attempt) => [realPath(attempt.file), attempt]));
  }

  /** The attempt of a file, which may have been added since the run began. */
  attemptOf(file) {
    const real = realPath(file);
    if (!this.attempts.has(real)) this.look();
    return this.attempts.get(real) ?? null;
  }

  /** The attempt is this run's for good, or somebody took it back. Throws where the disk refuses to tell. */
  claim(attempt) {
    try {
      fs.symlinkSync("begun", attempt.claim);
      return true;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      return fs.readlinkSync(attempt.claim) === "begun";
    }
  }

  tell(event) {
    fs.appendFileSync(this.plan.events, `${JSON.stringify({ at_ms: Date.now(), ...event })}\n`);
  }

  /** Patches the one WebDriver that AppWright uses; once for a worker. */
  patchSessions() {
    this.patched ??= this.plan.appium || this.plan.cloud ? this._patchSessions() : Promise.resolve();
    return this.patched;
  }

  async _patchSessions() {
    const inSuite = Module.createRequire(path.join(this.plan.suite, "package.json"));
    let manifest;
    try {
      manifest = Module.createRequire(inSuite.resolve("appwright")).resolve("webdriver/package.json");
    } catch (error) {
      if (error.code === "MODULE_NOT_FOUND") return; // a suite of plain Playwright has no sessions
      throw error;
    }
    const told = JSON.parse(fs.readFileSync(manifest, "utf8"));
    const ways = [told.exports?.["."]].flat().filter((way) => typeof way === "object");
    const entry = ways.map((way) => way.import?.default ?? way.import).find((way) => typeof way === "string");
    const module = await import(pathToFileURL(path.join(path.dirname(manifest), entry ?? told.module ?? told.main)));
    const driver = module.default;
    if (typeof driver?.newSession !== "function") {
      throw new Error(`webdriver ${told.version} has no newSession to patch; set appwright.mode = "plain"`);
    }
    const newSession = driver.newSession;
    if (this.plan.cloud) {
      const { inCloud } = require("./cloud.cjs");
      driver.newSession = inCloud(this, driver);
      return;
    }
    driver.newSession = async (options, ...rest) => {
      try {
        const session = await newSession.call(driver, this.turned(options), ...rest);
        this.tell({ event: "has_session", attempt: this.current?.index ?? null, session_id: session?.sessionId });
        return session;
      } catch (error) {
        this.tell({ event: "no_session", attempt: this.current?.index ?? null, text: String(error?.message).slice(0, 500) });
        throw error;
      }
    };
  }

  /** A session's options, for the agent's Appium and for an app that the agent has installed. */
  turned(options) {
    const { appium, ports, udid, app_package: appPackage, capabilities: own } = this.plan;
    const asked = options.capabilities ?? {};
    const capabilities = { ...(asked.alwaysMatch ?? asked), ...own };
    const ios = String(capabilities.platformName).toLowerCase() === "ios";
    capabilities["appium:fullReset"] = false;
    capabilities["appium:noReset"] = false;
    if (udid) capabilities["appium:udid"] = udid;
    // UiAutomator2 installs whatever `appium:app` names unless noReset is set; without it, it clears the app's data.
    if (!ios || appPackage) delete capabilities["appium:app"];
    else capabilities["appium:enforceAppInstall"] = false;
    if (ios && appPackage) capabilities["appium:bundleId"] ??= appPackage;
    const number = this.sessions++;
    for (const [name, [first, last]] of Object.entries((ios ? ports.ios : ports.android) ?? {})) {
      // A WebDriverAgent that runs is used again only on the port that it has.
      capabilities[name] = ios ? first : first + (number % (last - first + 1));
    }
    this.tell({
      event: "session",
      attempt: this.current?.index ?? null,
      installs: capabilities["appium:app"] !== undefined,
    });
    return {
      logLevel: "warn", // each command of each test, else
      ...options,
      ...appium,
      capabilities: asked.alwaysMatch ? { ...asked, alwaysMatch: capabilities } : capabilities,
    };
  }
}

/** Ends a group of tests that must not begin, as if each of them had been skipped. */
function skip(worker, payload) {
  for (const { testId } of payload.entries) {
    worker.dispatchEvent("testBegin", { testId, startWallTime: Date.now() });
    worker.dispatchEvent("testEnd", {
      testId,
      duration: 0,
      status: "skipped",
      errors: [],
      hasNonRetriableError: false,
      expectedStatus: "skipped",
      annotations: [{ type: "skip", description: "cancelled before it began" }],
      timeout: 0,
    });
  }
  worker.dispatchEvent("done", {
    fatalErrors: [],
    skipTestsDueToSetupFailure: [],
    fatalUnknownTestIds: undefined,
    stoppedDueToUnhandledErrorInTestFail: false,
  });
}

function fail(worker, problem) {
  worker.dispatchEvent("done", {
    fatalErrors: [{ message: problem }],
    skipTestsDueToSetupFailure: [],
    fatalUnknownTestIds: undefined,
    stoppedDueToUnhandledErrorInTestFail: false,
  });
}

function guard(WorkerMain) {
  const run = new Run(PLAN);
  const runTestGroup = WorkerMain.prototype.runTestGroup;
  WorkerMain.prototype.runTestGroup = async function (payload) {
    const attempt = run.attemptOf(payload.file);
    try {
      if (attempt && !run.claim(attempt)) return skip(this, payload);
      await run.patchSessions();
    } catch (error) {
      return fail(this, `the agent could not begin ${payload.file}: ${error.message}`);
    }
    run.current = attempt;
    Object.assign(process.env, attempt?.env);
    return await runTestGroup.call(this, payload);
  };
}

/** The file that a module's name means, if it is one of those that are changed. */
function meant(request, parent) {
  if (typeof request !== "string" || !/(workerMain\.js|[\\/]dispatcher|[\\/]browserstack)$/.test(request)) return "";
  try {
    return Module._resolveFilename(request, parent);
  } catch {
    return ""; // it is not there, and who wants it is told so
  }
}

module.exports = { Run };

if (PLAN) {
  const load = Module._load;
  const known = new Set();
  Module._load = function (request, parent, ...rest) {
    const loaded = load.call(this, request, parent, ...rest);
    const file = meant(request, parent);
    if (file && !known.has(file)) {
      known.add(file);
      if (WORKER.test(file)) guard(loaded.WorkerMain);
      if (BROWSERSTACK.test(file)) require("./cloud.cjs").adopt(loaded.BrowserStackDeviceProvider, PLAN);
      if (DISPATCHER.test(file)) require("./feed.cjs").feed(loaded, PLAN, path.resolve(path.dirname(file), "..", ".."));
    }
    return loaded;
  };
}
