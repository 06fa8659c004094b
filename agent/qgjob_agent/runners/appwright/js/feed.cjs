"use strict";
// In Playwright's main process: when all files of a run have ended it does not end at once, but waits a moment for more
// of them, which the agent adds to the plan. A file that comes so finds the worker running.

const fs = require("node:fs");
const path = require("node:path");

const POLL_MS = 10;

class Feed {
  constructor(planFile, playwright) {
    this.planFile = planFile;
    this.plan = JSON.parse(fs.readFileSync(planFile, "utf8"));
    this.taken = new Set(this.plan.attempts.map(({ index }) => index));
    this.changedAt = fs.statSync(planFile).mtimeMs;
    this.waiting = false;
    this.closed = !(this.plan.linger_ms > 0);
    this.load = (name) => require(path.join(playwright, "lib", ...name.split("/")));
  }

  tell(event) {
    fs.appendFileSync(this.plan.events, `${JSON.stringify({ at_ms: Date.now(), ...event })}\n`);
  }

  /** What the agent has added since the last look; empty where it wants no more of this run. */
  added() {
    const { mtimeMs, ino } = fs.statSync(this.planFile);
    if (mtimeMs === this.changedAt && ino === this.inode) return [];
    [this.changedAt, this.inode] = [mtimeMs, ino];
    this.plan = JSON.parse(fs.readFileSync(this.planFile, "utf8"));
    if (!(this.plan.linger_ms > 0)) this.closed = true;
    const added = this.plan.attempts.filter(({ index }) => !this.taken.has(index));
    for (const { index } of added) this.taken.add(index);
    return added;
  }

  /** The dispatcher has nothing to do. Calls `end` when nothing has come for long enough. */
  async wait(dispatcher, end) {
    if (this.waiting) return;
    this.waiting = true;
    this.tell({ event: "idle" });
    const until = Date.now() + this.plan.linger_ms;
    for (;;) {
      const added = this.added();
      if (added.length && (await this.take(dispatcher, added))) break;
      if (this.closed || Date.now() > until) {
        this.closed = true;
        this.waiting = false;
        return end();
      }
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
    this.waiting = false;
    dispatcher._scheduleJob();
  }

  /** Loads the files of these attempts and puts their tests in the queue; false where none could be. */
  async take(dispatcher, attempts) {
    const queued = dispatcher._queue.length;
    for (const attempt of attempts) {
      const { index, timeout_ms, silence_timeout_ms } = attempt;
      this.tell({ event: "joined", attempt: index, timeout_ms, silence_timeout_ms });
      const problem = await this.queue(dispatcher, attempt.file).catch((error) => error.message);
      if (problem) {
        this.tell({ event: "end", attempt: index, passed: 0, failed: 1, skipped: 0, duration_ms: 0, error: problem });
      }
    }
    return dispatcher._queue.length > queued;
  }

  /** Puts a file's tests in the queue. Gives why not, if so. */
  async queue(dispatcher, file) {
    const { loadFileSuites, createRootSuite } = this.load("runner/loadUtils.js");
    const { collectFilesForProject } = this.load("runner/projectUtils.js");
    const { createTestGroups } = this.load("runner/testGroups.js");
    const project = dispatcher._config.projects.find((each) => each.project.name === this.plan.project);
    const none = "Playwright found no test in it: look at the project's testDir and testMatch, and at test.only";
    if (!(await collectFilesForProject(project)).includes(file)) return none;
    const config = Object.create(dispatcher._config, { cliArgs: { value: [] } });
    const run = { config, projectFiles: new Map([[project, [file]]]), projectSuites: new Map() };
    const errors = [];
    await loadFileSuites(run, "in-process", errors);
    const { rootSuite } = await createRootSuite(run, errors, false);
    if (errors.length) return errors[0].message ?? errors[0].value;
    const suite = rootSuite.suites.find((each) => each._fullProject === project);
    const groups = suite ? createTestGroups(suite, 1) : [];
    for (const group of groups) {
      dispatcher._queue.push(group);
      dispatcher._updateCounterForWorkerHash(group.workerHash, 1);
    }
    return groups.length ? "" : none;
  }
}

/** Changes the dispatcher of the run's own project; those of projects that it depends on end as ever. */
function feed({ Dispatcher }, planFile, playwright) {
  const it = new Feed(planFile, playwright);
  if (it.closed) return;
  const { run, _checkFinished: checkFinished, _isWorkerRedundant: isRedundant } = Dispatcher.prototype;
  let ours = null;
  Dispatcher.prototype.run = function (groups, ...rest) {
    const project = this._config.projects.find((each) => each.project.name === it.plan.project);
    if (groups.some((group) => group.projectId === project?.id)) ours = this;
    return run.call(this, groups, ...rest);
  };
  Dispatcher.prototype._isWorkerRedundant = function (worker) {
    return (this !== ours || it.closed) && isRedundant.call(this, worker);
  };
  Dispatcher.prototype._checkFinished = function () {
    const busy = this._queue.length || this._workerSlots.some((slot) => slot.jobDispatcher);
    if (this !== ours || it.closed || busy || this._isStopped || this._finished.isDone()) return checkFinished.call(this);
    const end = () => checkFinished.call(this);
    it.wait(this, end).catch((error) => {
      it.closed = true;
      process.stdout.write(`no further file can be taken: ${error.stack}\n`);
      end();
    });
  };
}

module.exports = { feed };
