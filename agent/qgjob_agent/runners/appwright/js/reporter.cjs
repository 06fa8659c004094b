"use strict";
// Playwright's reporter for the agent: what happens to each test file, as JSON lines in the plan's events file, and what
// each file printed, in a file of its own. Everything is written at once and whole: this process may be killed.

const fs = require("node:fs");
const path = require("node:path");

const TAIL_BYTES = 65_536;
const ALIVE_MS = 250;
const MOST_FILES = 1_000;
const MOST_TESTS = 200;
const MOST_CASES = 10_000;
const TEXT = 2_000;
const ANSI = /[\u001b\u009b][[()#;?]*(?:\d{1,4}(?:;\d{0,4})*)?[0-9A-ORZcf-nqry=><]/g;

function plain(text, most = TEXT) {
  return String(text ?? "").replace(ANSI, "").slice(0, most);
}

function realPath(file) {
  try {
    return fs.realpathSync(file);
  } catch {
    return path.resolve(file);
  }
}

/** Text as XML takes it: of what may not stand there nothing is left. */
function xml(text) {
  const fit = String(text).replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/g, "");
  return fit.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

/** The tests of a file as JUnit writes them. */
function junit(attempt) {
  const cases = attempt.cases.map(({ title, file, seconds, skipped, failure }) => {
    const inner = skipped ? "<skipped/>" : failure ? `<failure message="${xml(failure.message)}">${xml(failure.text)}</failure>` : "";
    return `<testcase name="${xml(title)}" classname="${xml(file)}" time="${seconds}">${inner}</testcase>\n`;
  });
  const { total, failed, skipped } = attempt;
  const counts = `tests="${total}" failures="${failed}" errors="0" skipped="${skipped}"`;
  const name = xml(attempt.cases[0]?.file ?? path.basename(attempt.file));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name="${name}" ${counts}>\n${cases.join("")}</testsuite></testsuites>\n`;
}

/** Whether a step makes AppWright's device, and with it a session. */
function isDevice(step) {
  return step.category === "fixture" && /\bdevice\b/.test(step.title);
}

/** What one file printed: up to a limit, then the end of it when the file has ended. */
class Output {
  constructor(file, limit) {
    this.fd = fs.openSync(file, "a", 0o600);
    this.room = limit;
    this.leftOut = 0;
    this.tail = Buffer.alloc(0);
  }

  write(chunk) {
    let data = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (this.room > 0) {
      const part = data.subarray(0, this.room);
      const written = this._put(part);
      this.room = written === part.length ? this.room - written : 0; // what came after a gap would stand before it
      data = data.subarray(written);
    }
    if (data.length) {
      this.leftOut += data.length;
      this.tail = Buffer.concat([this.tail, data]).subarray(-TAIL_BYTES);
    }
  }

  close() {
    if (this.fd === null) return;
    if (this.leftOut) this._put(Buffer.from(`\n[${this.leftOut - this.tail.length} bytes of output left out]\n`));
    if (this.leftOut) this._put(this.tail);
    fs.closeSync(this.fd);
    this.fd = null;
    this.tail = Buffer.alloc(0);
  }

  _put(data) {
    if (this.fd === null) return 0;
    try {
      return fs.writeSync(this.fd, data);
    } catch {
      return 0; // a full disk: the test must not fail for its log
    }
  }
}

class Attempt {
  constructor(told, outputBytes) {
    this.index = told.index;
    this.file = told.file;
    this.files = told.files;
    this.outputFile = told.output;
    this.outputBytes = outputBytes;
    this.total = 0;
    this.done = 0;
    this.begunAt = 0;
    this.ended = false;
    this.percent = 0;
    this.passed = this.failed = this.skipped = 0;
    this.withDevice = new Map(); // test id -> how long its device took to be there, in ms
    this.error = "";
    this.tests = [];
    this.cases = [];
    this.attachments = [];
  }

  get output() {
    this._output ??= new Output(this.outputFile, this.outputBytes);
    return this._output;
  }
}

class Reporter {
  constructor() {
    this.attempts = [];
    this.byFile = new Map();
    this.look();
    this.atFirst = this.attempts.length;
    this.byTest = new Map();
    this.current = null;
    this.errors = [];
    this.aliveAt = 0;
  }

  printsToStdio() {
    return true; // what is printed belongs to the files
  }

  tell(event) {
    fs.appendFileSync(this.plan.events, `${JSON.stringify({ at_ms: Date.now(), ...event })}\n`);
  }

  /** How long the log of Appium is, and which file it is; undefined where there is none of ours. */
  logged() {
    try {
      const { ino, size } = fs.statSync(this.plan.appium_log);
      return [ino, size];
    } catch {
      return undefined;
    }
  }

  /** Something moves: told now and then, for those who end what is silent. */
  alive() {
    const now = Date.now();
    if (now - this.aliveAt < ALIVE_MS) return;
    this.aliveAt = now;
    this.tell({ event: "alive" });
  }

  onBegin(_config, suite) {
    const order = new Set(); // Playwright's, whatever the order of its arguments is
    for (const project of suite.suites) {
      for (const file of project.suites) {
        const attempt = this.known(file);
        if (attempt) order.add(attempt.index);
      }
    }
    this.tell({ event: "order", attempts: [...order] });
  }

  /** Takes up the tests of a file; gives its attempt, if it is one's. */
  known(file) {
    const real = realPath(file.location?.file ?? "");
    if (!this.byFile.has(real)) this.look();
    const attempt = this.byFile.get(real);
    if (!attempt) return null;
    for (const test of file.allTests()) {
      if (!this.byTest.has(test.id)) attempt.total += 1;
      this.byTest.set(test.id, attempt);
    }
    return attempt;
  }

  /** The attempts of the plan, which may have grown since the run began. */
  look() {
    this.plan = JSON.parse(fs.readFileSync(process.env.QGJOB_APPWRIGHT_PLAN, "utf8"));
    for (const told of this.plan.attempts) {
      if (this.attempts.some(({ index }) => index === told.index)) continue;
      const attempt = new Attempt(told, this.plan.output_bytes);
      this.attempts.push(attempt);
      this.byFile.set(realPath(told.file), attempt);
    }
  }

  onTestBegin(test) {
    let file = test.parent; // of a file that came later nobody was told when the run began
    while (file && file.type !== "file") file = file.parent;
    const attempt = this.byTest.get(test.id) ?? (file && this.known(file));
    if (!attempt || attempt.ended) return;
    this.current = attempt;
    if (!attempt.begunAt) {
      attempt.begunAt = Date.now();
      this.tell({ event: "begin", attempt: attempt.index, tests: attempt.total, appium_log: this.logged() });
    }
    this.alive();
  }

  onStdOut(chunk, test) {
    this.print(chunk, test);
  }

  onStdErr(chunk, test) {
    this.print(chunk, test);
  }

  print(chunk, test) {
    const attempt = (test && this.byTest.get(test.id)) || this.current;
    if (attempt) attempt.output.write(chunk);
    else process.stdout.write(chunk);
    this.alive();
  }

  onStepBegin(test, _result, step) {
    const attempt = this.byTest.get(test.id);
    if (attempt && isDevice(step) && !attempt.withDevice.has(test.id)) attempt.withDevice.set(test.id, -1);
    this.alive();
  }

  onStepEnd(test, _result, step) {
    const attempt = this.byTest.get(test.id);
    if (attempt && isDevice(step) && attempt.withDevice.get(test.id) === -1) {
      attempt.withDevice.set(test.id, Math.max(0, Math.round(step.duration)));
    }
    this.alive();
  }

  onTestEnd(test, result) {
    const attempt = this.byTest.get(test.id);
    if (!attempt || attempt.ended) return;
    const outcome = test.outcome();
    const ok = outcome === "expected" || outcome === "flaky";
    if (outcome === "skipped") attempt.skipped += 1;
    else if (ok) attempt.passed += 1;
    else attempt.failed += 1;
    const title = test.titlePath().slice(3).join(" > ");
    const mark = outcome === "skipped" ? "-" : ok ? "ok" : "FAILED";
    attempt.output.write(`${mark} ${title} (${Math.round(result.duration)} ms)\n`);
    for (const error of result.errors) attempt.output.write(`${plain(error.stack ?? error.message ?? error.value, 20_000)}\n`);
    if (!ok && outcome !== "skipped" && !attempt.error) {
      attempt.error = `${title}: ${plain(result.error?.message ?? result.error?.value ?? result.status).split("\n")[0]}`;
    }
    if (attempt.tests.length < MOST_TESTS) {
      attempt.tests.push({ title: plain(title, 200), status: result.status, duration_ms: Math.round(result.duration) });
    }
    if (attempt.cases.length < MOST_CASES) {
      const failure = ok || outcome === "skipped" ? null : result.error ?? { message: result.status };
      attempt.cases.push({
        title: plain(title, 500),
        file: plain(test.titlePath()[2], 500),
        seconds: (result.duration / 1000).toFixed(3),
        skipped: outcome === "skipped",
        failure: failure && {
          message: plain(failure.message ?? failure.value, 500).split("\n")[0],
          text: plain(failure.stack ?? failure.message ?? failure.value, 20_000),
        },
      });
    }
    this.keep(attempt, result);
    attempt.done += 1;
    if (attempt.done >= attempt.total) return this.end(attempt);
    const percent = Math.floor((100 * attempt.done) / attempt.total);
    if (percent !== attempt.percent) {
      attempt.percent = percent;
      this.tell({ event: "progress", attempt: attempt.index, percent });
    }
  }

  /** Gives the attempt the files that its test left, under names of their own. */
  keep(attempt, result) {
    for (const each of result.attachments) {
      if (attempt.attachments.length >= MOST_FILES) return;
      const number = String(attempt.attachments.length + 1).padStart(3, "0");
      const named = each.path ? path.basename(each.path) : `${each.name}`;
      const name = `${number}-${named.replace(/[^\w.-]+/g, "-").slice(-80)}`;
      const target = path.join(attempt.files, name);
      try {
        if (each.path) this.link(each.path, target);
        else if (each.body !== undefined) fs.writeFileSync(target, each.body);
        else continue;
      } catch (error) {
        attempt.output.write(`[${each.name} was not kept: ${error.message}]\n`);
        continue;
      }
      attempt.attachments.push({ name: plain(each.name, 200), type: plain(each.contentType, 100), file: name });
    }
  }

  link(source, target) {
    try {
      fs.linkSync(source, target);
    } catch {
      fs.copyFileSync(source, target); // another file system
    }
  }

  end(attempt) {
    attempt.ended = true;
    try {
      fs.writeFileSync(path.join(attempt.files, "junit.xml"), junit(attempt));
    } catch (error) {
      attempt.output.write(`[junit.xml was not written: ${error.message}]\n`);
    }
    attempt.output.close();
    this.tell({
      event: "end",
      attempt: attempt.index,
      passed: attempt.passed,
      failed: attempt.failed,
      skipped: attempt.skipped,
      duration_ms: Date.now() - attempt.begunAt,
      error: plain(attempt.error, 500),
      // Without the preload each session of AppWright installs the app.
      installs: this.plan.plain ? attempt.withDevice.size : 0,
      install_ms: [...attempt.withDevice.values()].reduce((sum, ms) => sum + Math.max(ms, 0), 0),
      appium_log: this.logged(),
      tests: attempt.tests,
      attachments: attempt.attachments,
    });
  }

  onError(error) {
    const text = plain(error.message ?? error.value ?? error.stack ?? "an unknown error");
    const told = `${error.stack ?? ""}\n${text}`;
    const at = error.location?.file ? this.byFile.get(realPath(error.location.file)) : undefined;
    const named = at ?? this.attempts.find((attempt) => told.includes(attempt.file)) ?? null;
    process.stdout.write(`${text}\n`);
    this.errors.push({ attempt: named?.index ?? null, text });
  }

  onEnd(result) {
    for (const { attempt, text } of this.errors) this.tell({ event: "error", attempt, text: plain(text, 500) });
    const loaded = this.byTest.size > 0 || this.errors.length === 0;
    for (const attempt of this.attempts.slice(0, this.atFirst)) {
      if (loaded && attempt.total === 0) this.tell({ event: "missing", attempt: attempt.index });
    }
    for (const attempt of this.attempts) attempt._output?.close();
    this.tell({ event: "done", status: result.status });
  }
}

module.exports = Reporter;
